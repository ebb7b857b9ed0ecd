/** `anybucket node list|add|drain|remove`: the storage nodes of a cluster, by the admin API of one of its processes. */
import { readFile } from "node:fs/promises";
import { Command, CommanderError } from "commander";
import { adminClient } from "#admin/client.ts";
import type {
  NodeAction,
  NodeChange,
  NodeChangeAnswer,
  NodeList,
  NodeView,
} from "#admin/node-api.ts";

export interface CliOutcome {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
}

export interface CliParts {
  readonly argv: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
}

const EXIT_FAULT = 1;
const EXIT_USAGE = 2;
const EXIT_CONFIGURATION = 78;

interface Where {
  readonly adminAddress: string;
  readonly adminToken?: string;
  readonly json?: true;
}

export async function runNodeCommand({ argv, environment }: CliParts): Promise<CliOutcome> {
  let out = "";
  const say = (text: string) => {
    out += text;
  };
  const command = new Command("anybucket node")
    .description("The storage nodes of a cluster.")
    .exitOverride()
    .configureOutput({ writeOut: say, writeErr: () => undefined });
  const verb = (name: string, description: string) =>
    command
      .command(name)
      .description(description)
      .exitOverride()
      .configureOutput({ writeOut: say, writeErr: () => undefined })
      .option(
        "--admin-address <address>",
        "admin address of a gateway or keeper",
        environment["ANYBUCKET_ADMIN_ADDRESS"] || ":9001",
      )
      .option("--admin-token <token>", "as those processes have it in ANYBUCKET_ADMIN_TOKEN")
      .option("--json", "the API's own answer");
  const change = (action: NodeAction, flags: (options: Command) => Command, description: string) =>
    flags(
      verb(`${action} <node>`, description).option("--dry-run", "only say what would move"),
    ).action(async (id: string, options: Where & NodeChange) => {
      const { dryRun = false, cancel = false, lost = false } = options;
      const client = await clientOf(options, environment);
      const answer = await client.changeNode(id, action, { dryRun, cancel, lost });
      say(options.json ? printed(answer) : changeText(answer, dryRun));
    });
  verb("list", "all nodes, what they hold and what is moving").action(async (options: Where) => {
    const list = await (await clientOf(options, environment)).listNodes();
    say(options.json ? printed(list) : listText(list));
  });
  change("add", (one) => one, "give a new node its share of the data");
  change(
    "drain",
    (one) => one.option("--cancel", "keep the node after all"),
    "move everything off a node",
  );
  change(
    "remove",
    (one) => one.option("--lost", "its disks are lost: make its data again from the others'"),
    "forget a node that holds nothing any more",
  );
  try {
    await command.parseAsync([...argv], { from: "user" });
    return { exitCode: 0, out, err: "" };
  } catch (error) {
    return { out, ...faultOf(error as Error) };
  }
}

function faultOf(error: Error): Pick<CliOutcome, "exitCode" | "err"> {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return { exitCode: 0, err: "" };
    const [line = ""] = error.message.split("\n", 1);
    const text = line === "(outputHelp)" ? 'say what: "anybucket node --help"' : line;
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

function printed(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function listText({ clusterId, epoch, width, nodes }: NodeList): string {
  const rows = [
    ["NODE", "ZONE", "STATE", "ANSWERS", "DISKS", "HOLDS", "CAPACITY", "MOVING"],
    ...nodes.map(rowOf),
  ];
  const head =
    epoch === 0
      ? `cluster ${clusterId}: nothing is placed yet`
      : `cluster ${clusterId}: placement map ${epoch}, ${width} disks a group`;
  return `${head}\n${table(rows)}`;
}

function rowOf(node: NodeView): string[] {
  const sum = (pick: (disk: NodeView["disks"][number]) => number) =>
    bytesText(node.disks.reduce((total, disk) => total + pick(disk), 0));
  const good = node.disks.filter(({ state }) => state === "writable").length;
  const disks = good === node.disks.length ? String(good) : `${good} of ${node.disks.length}`;
  return [
    node.id,
    node.zone,
    node.state,
    node.answers ? "yes" : "NO",
    disks,
    sum(({ live }) => live),
    sum(({ capacity }) => capacity),
    moveText(node),
  ];
}

function moveText({ move, state, places }: NodeView): string {
  if (!move) return state === "draining" && places === 0 ? "empty: may be removed" : "-";
  const time = move.remainingMs === undefined ? "" : `, about ${durationText(move.remainingMs)}`;
  return `${bytesText(move.left)} of ${bytesText(move.bytes)} left${time}`;
}

function changeText(answer: NodeChangeAnswer, isDryRun: boolean): string {
  const { id, state, bytes, places, receivers } = answer;
  const now = isDryRun ? `${id} would be ${state}` : `${id} is ${state}`;
  if (places === 0) return `${now}; nothing ${isDryRun ? "would move" : "moves"}\n`;
  const moves = isDryRun ? "would move" : "moves";
  const rows = receivers.map((one) => [
    `  to ${one.node}`,
    bytesText(one.bytes),
    `${one.places} places`,
  ]);
  const next = isDryRun ? "" : 'See how far it is with "anybucket node list".\n';
  return `${now}; about ${bytesText(bytes)} ${moves} (${places} places of shards)\n${table(rows)}${next}`;
}

function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, at) =>
    Math.max(...rows.map((row) => row[at]?.length ?? 0)),
  );
  const lines = rows.map((row) => row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join("  "));
  return lines.map((line) => `${line.trimEnd()}\n`).join("");
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

function bytesText(bytes: number): string {
  let unit = 0;
  let rest = bytes;
  for (; rest >= 1024 && unit < UNITS.length - 1; unit++) rest /= 1024;
  return `${unit === 0 ? rest : rest.toFixed(1)} ${UNITS[unit]}`;
}

function durationText(ms: number): string {
  const minutes = ms / 60_000;
  if (minutes < 1) return `${Math.ceil(ms / 1000)} s`;
  return minutes < 120 ? `${Math.ceil(minutes)} min` : `${Math.round(minutes / 60)} h`;
}
