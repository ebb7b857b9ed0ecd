/** What only the operator can mend: one clear line, and the exit code that says which kind it is. */

import { quoted } from "#local/shell.ts";

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

/** One that is one already stays as it is; of any other error the message's first line says it. */
export function asOperatorFault(error: unknown, exitCode: number): OperatorFault {
  if (error instanceof OperatorFault) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new OperatorFault(message.split("\n", 1)[0] ?? "", exitCode, error);
}

/** Words for the faults of listening on an address; `flag` is the setting that names it. */
export function listenFault(
  error: NodeJS.ErrnoException,
  { address, flag }: { address: string; flag: string },
): OperatorFault {
  const reason = listenReason(error, flag);
  return new OperatorFault(`Cannot listen on ${address}: ${reason}`, EXIT_CONFIGURATION, error);
}

function listenReason({ code, message }: NodeJS.ErrnoException, flag: string): string {
  switch (code ?? "") {
    case "EADDRINUSE":
      return `the port is in use; stop the other program, or choose another with ${flag} :PORT`;
    case "EACCES":
      return `ports below 1024 need root; choose another with ${flag} :PORT`;
    case "EADDRNOTAVAIL":
      return "this machine has no such address";
    case "ENOTFOUND":
      return "there is no host of that name";
    default:
      return message;
  }
}

/** Words for the faults of a data folder. */
export function folderFault(error: NodeJS.ErrnoException, path: string): OperatorFault {
  switch (codeOf(error)) {
    case "EACCES":
    case "EPERM":
      return forbiddenFault(error, path);
    case "EROFS":
      return new OperatorFault(`Cannot write to ${path}: it is mounted read-only`, EXIT_IO, error);
    case "ENOSPC":
    case "EDQUOT":
      return fullFault(path, error);
    case "ENOTDIR":
    case "EEXIST":
      return new OperatorFault(`Cannot use ${path}: it is not a folder`, EXIT_CONFIGURATION, error);
    default:
      return new OperatorFault(`Cannot use ${path}: ${error.message}`, EXIT_IO, error);
  }
}

export function fullFault(path: string, cause: unknown): OperatorFault {
  return new OperatorFault(
    `Cannot write to ${path}: the disk is full; make room on it, then start again`,
    EXIT_IO,
    cause,
  );
}

/** SQLite, which takes the folder's lock, has codes of its own; the low byte tells the kind. */
const SQLITE_CODES: Readonly<Record<number, string>> = {
  8: "EACCES", // SQLITE_READONLY
  13: "ENOSPC", // SQLITE_FULL
  14: "EACCES", // SQLITE_CANTOPEN
};

function codeOf(error: NodeJS.ErrnoException & { errcode?: number }): string {
  if (error.errcode === undefined) return error.code ?? "";
  return SQLITE_CODES[error.errcode & 0xff] ?? "";
}

function forbiddenFault(error: NodeJS.ErrnoException, path: string): OperatorFault {
  const owner = `${process.getuid?.() ?? 0}:${process.getgid?.() ?? 0}`;
  const folder = quoted(path);
  const isMissing = error.syscall === "mkdir";
  const command = isMissing
    ? `mkdir -p ${folder} && chown ${owner} ${folder}`
    : `chown -R ${owner} ${folder}`;
  const [user] = owner.split(":");
  return new OperatorFault(
    `Cannot ${isMissing ? "make" : "write to"} ${path} as user ${user}: run, as root: ${command}`,
    EXIT_CONFIGURATION,
    error,
  );
}
