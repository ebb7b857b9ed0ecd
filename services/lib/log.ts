/** One way to log: pino, JSON lines for machines, pretty on a terminal. Secrets never reach it. */
import { isatty } from "node:tty";
import { type Logger as PinoLogger, pino, type StreamEntry } from "pino";
import { PinoPretty } from "pino-pretty";

export type Logger = Pick<PinoLogger, "trace" | "debug" | "info" | "warn" | "error" | "child">;

export interface LogOptions {
  readonly level: "trace" | "debug" | "info" | "warn" | "error";
  readonly format: "auto" | "json" | "pretty";
}

/** Writes to standard output; in JSON lines are gathered for a moment, so that a busy server does not make a system call for each. */
export function createLog(options: LogOptions): Logger & { flush(): void } {
  const destination = isForPeople(options)
    ? PinoPretty({ colorize: isatty(1), ignore: "pid,hostname", singleLine: true, sync: true })
    : pino.destination({ dest: 1, sync: false, minLength: 4096, periodicFlush: 500 });
  const settings = { level: options.level, base: null, timestamp: pino.stdTimeFunctions.isoTime };
  return pino(settings, destination as StreamEntry["stream"]) as Logger & {
    flush(): void;
  };
}

/** Then a line should read well by itself. */
export function isForPeople({ format }: Pick<LogOptions, "format">): boolean {
  return format === "pretty" || (format === "auto" && isatty(1));
}

/** For tests and tools that want silence. */
export const silentLog: Logger = pino({ level: "silent" });
