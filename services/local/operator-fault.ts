/** What only the operator can mend: one clear line, and the exit code that says which kind it is. */

/** README lists all exit codes. */
export const EXIT_FAULT = 1;
export const EXIT_IO = 74;
export const EXIT_CONFIGURATION = 78;

export class OperatorFault extends Error {
  override readonly name = "OperatorFault";
  readonly exitCode: number;

  constructor(message: string, exitCode: number, cause?: unknown) {
    super(message, { cause });
    this.exitCode = exitCode;
  }
}

/** Words for the faults of listening on an address. */
export function listenFault(error: NodeJS.ErrnoException, address: string): OperatorFault {
  switch (error.code ?? "") {
    case "EADDRINUSE":
      return new OperatorFault(
        `Cannot listen on ${address}: the port is in use; stop the other program, or choose another with --address :PORT`,
        EXIT_CONFIGURATION,
        error,
      );
    case "EACCES":
      return new OperatorFault(
        `Cannot listen on ${address}: ports below 1024 need root; choose another with --address :PORT`,
        EXIT_CONFIGURATION,
        error,
      );
    default:
      return new OperatorFault(
        `Cannot listen on ${address}: ${error.message}`,
        EXIT_CONFIGURATION,
        error,
      );
  }
}

/** Words for the faults of a data folder. */
export function folderFault(error: NodeJS.ErrnoException, path: string): OperatorFault {
  switch (error.code ?? "") {
    case "EACCES":
    case "EPERM": {
      const user = process.getuid?.() ?? 0;
      const group = process.getgid?.() ?? 0;
      return new OperatorFault(
        `Cannot write to ${path} as user ${user}: run "chown -R ${user}:${group} ${path}"`,
        EXIT_CONFIGURATION,
        error,
      );
    }
    case "EROFS":
      return new OperatorFault(`Cannot write to ${path}: it is mounted read-only`, EXIT_IO, error);
    case "ENOSPC":
      return new OperatorFault(`Cannot write to ${path}: the disk is full`, EXIT_IO, error);
    case "ENOTDIR":
    case "EEXIST":
      return new OperatorFault(`Cannot use ${path}: it is not a folder`, EXIT_CONFIGURATION, error);
    default:
      return new OperatorFault(`Cannot use ${path}: ${error.message}`, EXIT_IO, error);
  }
}
