/** `anybucket NOUN VERB`: what operators ask of a running cluster, by the admin API of one of its processes. */
import { readFile } from "node:fs/promises";
import { Command, CommanderError } from "commander";
import type { Noun, Where } from "#admin/cli-noun.ts";
import { adminClient } from "#admin/client.ts";
import { GARBAGE_NOUN } from "#admin/garbage-cli.ts";
import { NODE_NOUN } from "#admin/node-cli.ts";

export interface CliOutcome {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
}

export interface CliParts {
  /** From the noun on. */
  readonly argv: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
}

const EXIT_FAULT = 1;
const EXIT_USAGE = 2;
const EXIT_CONFIGURATION = 78;

const NOUNS: Readonly<Record<string, Noun>> = { node: NODE_NOUN, garbage: GARBAGE_NOUN };

export async function runAdminCommand({ argv, environment }: CliParts): Promise<CliOutcome> {
  const [name = "", ...rest] = argv;
  const noun = NOUNS[name];
  if (!noun) throw new Error(`Cannot run anybucket ${name}: there is no such noun`);
  let out = "";
  const say = (text: string) => {
    out += text;
  };
  const command = new Command(`anybucket ${name}`)
    .description(noun.description)
    .exitOverride()
    .configureOutput({ writeOut: say, writeErr: () => undefined });
  noun.addTo({
    say,
    client: (where) => clientOf(where, environment),
    verb: (usage, description) =>
      command
        .command(usage)
        .description(description)
        .exitOverride()
        .configureOutput({ writeOut: say, writeErr: () => undefined })
        .option(
          "--admin-address <address>",
          "admin address of a gateway or keeper",
          environment["ANYBUCKET_ADMIN_ADDRESS"] || ":9001",
        )
        .option("--admin-token <token>", "as those processes have it in ANYBUCKET_ADMIN_TOKEN")
        .option("--json", "the API's own answer"),
  });
  try {
    await command.parseAsync(rest, { from: "user" });
    return { exitCode: 0, out, err: "" };
  } catch (error) {
    return { out, ...faultOf(error as Error, name) };
  }
}

function faultOf(error: Error, noun: string): Pick<CliOutcome, "exitCode" | "err"> {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return { exitCode: 0, err: "" };
    const [line = ""] = error.message.split("\n", 1);
    const text = line === "(outputHelp)" ? `say what: "anybucket ${noun} --help"` : line;
    return { exitCode: EXIT_USAGE, err: `anybucket: ${text.replace(/^error: /, "")}\n` };
  }
  const exitCode = error instanceof MissingToken ? EXIT_CONFIGURATION : EXIT_FAULT;
  return { exitCode, err: `anybucket: ${error.message}\n` };
}

class MissingToken extends Error {}

async function clientOf({ adminAddress, adminToken }: Where, environment: CliParts["environment"]) {
  const token = adminToken ?? (await tokenIn(environment));
  if (token === undefined) {
    throw new MissingToken(
      "Cannot ask without a token: set ANYBUCKET_ADMIN_TOKEN, or ANYBUCKET_ADMIN_TOKEN_FILE, to the one that the cluster's processes have",
    );
  }
  return adminClient({ url: urlOf(adminAddress), token });
}

async function tokenIn(environment: CliParts["environment"]): Promise<string | undefined> {
  const { ANYBUCKET_ADMIN_TOKEN: token, ANYBUCKET_ADMIN_TOKEN_FILE: file } = environment;
  if (token) return token;
  if (!file) return undefined;
  try {
    return (await readFile(file, "utf8")).trimEnd();
  } catch (error) {
    throw new MissingToken(`Cannot read ${file}: ${(error as Error).message}`, { cause: error });
  }
}

/** `:9001`, `host:9001` or a URL. */
function urlOf(address: string): string {
  if (address.includes("://")) return address.replace(/\/+$/, "");
  return `http://${/^(:|\d+$)/.test(address) ? `127.0.0.1:${address.replace(":", "")}` : address}`;
}
