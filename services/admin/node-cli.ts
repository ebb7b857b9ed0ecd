/** `anybucket node list|add|drain|remove`: the storage nodes of a cluster. */
import type { Command } from "commander";
import { type Noun, type NounFrame, printed, type Where } from "#admin/cli-noun.ts";
import type {
  NodeAction,
  NodeChange,
  NodeChangeAnswer,
  NodeList,
  NodeView,
} from "#admin/node-api.ts";

export const NODE_NOUN: Noun = { description: "The storage nodes of a cluster.", addTo };

function addTo({ verb, client, say }: NounFrame): void {
  const change = (action: NodeAction, flags: (options: Command) => Command, description: string) =>
    flags(
      verb(`${action} <node>`, description).option("--dry-run", "only say what would move"),
    ).action(async (id: string, options: Where & NodeChange) => {
      const { dryRun = false, cancel = false, lost = false } = options;
      const api = await client(options);
      const answer = await api.changeNode(id, action, { dryRun, cancel, lost });
      say(options.json ? printed(answer) : changeText(answer, dryRun));
    });
  verb("list", "all nodes, what they hold and what is moving").action(async (options: Where) => {
    const list = await (await client(options)).listNodes();
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
  const out = node.disks.filter(({ isOut }) => isOut).length;
  const of = good === node.disks.length ? "" : ` of ${node.disks.length}`;
  const disks = `${good}${of}${out === 0 ? "" : `, ${out} out`}`;
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
