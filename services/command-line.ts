/** The command line: `anybucket [ROLE] [DIR…] [--setting value]`, MinIO's spelling of the same, and `anybucket NOUN VERB`. */
import { Command, type CommanderError } from "commander";
import { nearest, type SettingRow } from "#lib/settings-reader.ts";
import { ROLES, type Role, readSettings, type Settings } from "#settings.ts";

export type CommandLine =
  | {
      readonly kind: "serve";
      readonly role: Role;
      readonly settings: Settings;
      readonly rows: readonly SettingRow[];
    }
  | { readonly kind: "print"; readonly text: string; readonly exitCode: number };

/** Wrong use of the command line, and wrong settings; README lists all exit codes. */
export const EXIT_USAGE = 2;
export const EXIT_CONFIGURATION = 78;

/** MinIO's flags that mean one of ours, and those that ask for nothing we would do otherwise. */
const MINIO_FLAGS: Readonly<Record<string, string>> = { "console-address": "admin-address" };
const OWN_FLAGS = ["--help", "--version", "--print-config"];
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
    .usage("[server | gateway | storage | keeper] [options] [folders...]")
    .argument("[folders...]", "one folder for each disk (default ./data)")
    .option("--print-config", "print every setting with its value, and stop")
    .version(version)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => {
        printed += text;
      },
      writeErr: () => undefined,
    })
    .showSuggestionAfterError(false)
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
    const { exitCode, message } = error as CommanderError;
    if (exitCode === 0) return { kind: "print", text: printed, exitCode };
    return {
      kind: "print",
      text: `anybucket: ${usageFault(message, rows)}\n`,
      exitCode: EXIT_USAGE,
    };
  }
  const { flags, printConfig } = chosenFlags(command.opts<Record<string, unknown>>());
  const { role, named } = roleOf(command.args);
  if (named.length > 0) flags["data"] = named.join(",");
  const read = readSettings({ environment, flags }, role);
  if (read.faults.length > 0) {
    const text = read.faults.map((fault) => `anybucket: ${fault}\n`).join("");
    return { kind: "print", text, exitCode: EXIT_CONFIGURATION };
  }
  if (printConfig) return { kind: "print", text: configuration(read.rows), exitCode: 0 };
  return { kind: "serve", role, settings: read.settings, rows: read.rows };
}

/** The first word may be a role; a folder of such a name is `./gateway`. */
function roleOf(args: readonly string[]): { role: Role; named: readonly string[] } {
  const [first, ...rest] = args;
  const role = first === "server" ? "all" : ROLES.find((each) => each === first);
  return role === undefined ? { role: "all", named: args } : { role, named: rest };
}

/** commander's words, but on one line and with ours for a flag that there is not. */
function usageFault(message: string, rows: readonly SettingRow[]): string {
  const [line = ""] = message.split("\n", 1);
  const unknown = /unknown option '(--[^'=]+)/.exec(line)?.[1];
  if (unknown === undefined) return line.replace(/^error: /, "");
  const flags = [...rows.map(({ flag }) => flag), ...OWN_FLAGS];
  return `${unknown} is not a setting; did you mean ${nearest(unknown, flags)}?`;
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

function environmentHelp(rows: readonly SettingRow[]): string {
  const lines = rows.map(({ variable, fallback, hasFile }) => {
    const file = hasFile ? `  or ${variable}_FILE` : "";
    return `  ${variable}${fallback === "" ? "" : `=${fallback}`}${file}`;
  });
  return `
Each setting is also read from the environment; flags win:
${lines.join("\n")}
MINIO_ROOT_USER, MINIO_ROOT_PASSWORD, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY work as well.

With no role it is a whole store on this machine. A cluster is made of: gateway, which serves S3; storage, which keeps
shards; keeper, which does the background work. "anybucket node" lists and changes its storage nodes,
"anybucket garbage" says whether it may remove what nothing names.
`;
}

function configuration(rows: readonly SettingRow[]): string {
  return rows.map((row) => `${row.variable}=${row.value}${originOf(row)}\n`).join("");
}

function originOf({ variable, source }: SettingRow): string {
  if (source === undefined) return "  # default";
  return source === variable ? "" : `  # from ${source}`;
}
