/** The command line: `anybucket [server] [DIR…] [--setting value]`, and MinIO's spelling of the same. */
import { Command } from "commander";
import type { SettingRow } from "#lib/settings-reader.ts";
import { readSettings, type Settings } from "#settings.ts";

export type CommandLine =
  | { readonly kind: "serve"; readonly settings: Settings; readonly rows: readonly SettingRow[] }
  | { readonly kind: "print"; readonly text: string; readonly exitCode: number };

/** Wrong use of the command line, and wrong settings; README lists all exit codes. */
export const EXIT_USAGE = 2;
export const EXIT_CONFIGURATION = 78;

/** MinIO's flags that mean one of ours, and those that ask for nothing we would do otherwise. */
const MINIO_FLAGS: Readonly<Record<string, string>> = { "console-address": "admin-address" };
const MINIO_SWITCHES = ["quiet", "json", "anonymous"];

export function readCommandLine(
  argv: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
  version: string,
): CommandLine {
  const { rows } = readSettings({ environment: {}, flags: {} });
  let printed = "";
  const command = new Command("anybucket")
    .description("An S3-compatible object store on your own disks.")
    .argument("[folders...]", "one folder for each disk (default ./data)")
    .option("--print-config", "print every setting with its value, and stop")
    .version(version)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => {
        printed += text;
      },
      writeErr: (text) => {
        printed += text;
      },
    })
    .showSuggestionAfterError(true)
    .addHelpText("after", environmentHelp(rows));
  for (const row of rows) {
    const argument = row.fallback === "false" || row.fallback === "true" ? "[value]" : "<value>";
    command.option(`${row.flag} ${argument}`, row.help);
  }
  for (const flag of Object.keys(MINIO_FLAGS)) command.option(`--${flag} <value>`, "as on MinIO");
  for (const flag of MINIO_SWITCHES) command.option(`--${flag}`, "accepted, as on MinIO");
  try {
    command.parse([...argv], { from: "user" });
  } catch (error) {
    const exitCode = (error as { exitCode?: number }).exitCode === 0 ? 0 : EXIT_USAGE;
    return { kind: "print", text: printed, exitCode };
  }
  const { flags, printConfig } = chosenFlags(command.opts<Record<string, unknown>>());
  const named = command.args[0] === "server" ? command.args.slice(1) : command.args;
  const remote = named.find((folder) => /^https?:\/\//.test(folder));
  if (remote !== undefined) {
    return {
      kind: "print",
      text: `${remote} names another machine: this version runs on one machine; give its folders, for example: anybucket server /data1 /data2\n`,
      exitCode: EXIT_USAGE,
    };
  }
  if (named.length > 0) flags["data"] = named.flatMap(expandEllipsis).join(",");
  const read = readSettings({ environment, flags });
  if (read.faults.length > 0) {
    const text = read.faults.map((fault) => `anybucket: ${fault}\n`).join("");
    return { kind: "print", text, exitCode: EXIT_CONFIGURATION };
  }
  if (printConfig) return { kind: "print", text: configuration(read.rows), exitCode: 0 };
  return { kind: "serve", settings: read.settings, rows: read.rows };
}

function chosenFlags(options: Record<string, unknown>): {
  flags: Record<string, string>;
  printConfig: boolean;
} {
  const flags: Record<string, string> = {};
  for (const [camel, value] of Object.entries(options)) {
    const name = camel.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    if (name === "print-config" || MINIO_SWITCHES.includes(name)) continue;
    flags[MINIO_FLAGS[name] ?? name] = value === true ? "true" : String(value);
  }
  return { flags, printConfig: options["printConfig"] === true };
}

/** MinIO's `/data{1...4}`: four folders. */
export function expandEllipsis(folder: string): string[] {
  const match = /^(.*)\{(\d+)\.\.\.(\d+)\}(.*)$/.exec(folder);
  if (match === null) return [folder];
  const [, before = "", first = "", last = "", after = ""] = match;
  const folders: string[] = [];
  for (let number = Number(first); number <= Number(last); number++) {
    folders.push(
      ...expandEllipsis(`${before}${String(number).padStart(first.length, "0")}${after}`),
    );
  }
  return folders;
}

function environmentHelp(rows: readonly SettingRow[]): string {
  const lines = rows.map(
    ({ variable, fallback }) => `  ${variable}${fallback === "" ? "" : `=${fallback}`}`,
  );
  return `\nEach setting is also read from the environment (flags win):\n${lines.join("\n")}\nMINIO_ROOT_USER, MINIO_ROOT_PASSWORD, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY work as well.\n`;
}

function configuration(rows: readonly SettingRow[]): string {
  return rows
    .map(({ variable, value, isSet }) => `${variable}=${value}${isSet ? "" : "  # default"}\n`)
    .join("");
}
