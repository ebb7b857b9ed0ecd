/**
 * `npm run dev:cluster`: etcd, storage nodes, gateways and a keeper as plain processes on this machine, in one command. Their
 * logs go by, each line with its member's name; Ctrl-C stops all of it. What is stored stays, in --folder.
 */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { isatty } from "node:tty";
import { parseArgs, styleText } from "node:util";
import { ProcessCluster } from "./process-cluster.ts";

const { values } = parseArgs({
  options: {
    nodes: { type: "string", default: "3" },
    gateways: { type: "string", default: "2" },
    keepers: { type: "string", default: "1" },
    zones: { type: "string", default: "1" },
    folder: { type: "string", default: "data/dev-cluster" },
    codec: { type: "string", default: "auto" },
    port: { type: "string", default: "9000" },
    help: { type: "boolean", default: false },
  },
});

const HELP = `npm run dev:cluster -- [--nodes 3] [--gateways 2] [--keepers 1] [--zones 1]
                       [--folder data/dev-cluster] [--codec auto] [--port 9000]
`;
const COLOURS = ["cyan", "yellow", "green", "magenta", "blue", "red"] as const;
const NAME_WIDTH = 9;

/** Members in the order of their first lines, which gives each its colour. */
const seen: string[] = [];

if (values.help) {
  process.stdout.write(HELP);
} else {
  try {
    await run();
  } catch (error) {
    process.stderr.write(`dev:cluster: ${(error as Error).message}\n`);
    process.exitCode = 1;
  }
}

async function run(): Promise<void> {
  requireEtcd();
  const folder = resolve(values.folder);
  const keys = await keysIn(folder);
  const stop = new Promise<string>((settle) => {
    for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => settle(signal));
  });
  const starting = ProcessCluster.start({
    ...keys,
    folder,
    nodes: number("nodes"),
    gateways: number("gateways"),
    keepers: number("keepers"),
    zones: number("zones"),
    firstPort: number("port"),
    env: { ANYBUCKET_STORAGE_CLASS: values.codec, ANYBUCKET_ACCESS_LOG: "false" },
    onLine: show,
  });
  const cluster = await starting;
  process.stdout.write(screen(cluster, keys, folder));
  await stop;
  process.stdout.write("\nStopping\n");
  await cluster.stop();
}

function number(name: "nodes" | "gateways" | "keepers" | "zones" | "port"): number {
  const value = Number(values[name]);
  if (Number.isInteger(value) && value > 0) return value;
  throw new Error(`--${name}=${values[name]} must be a whole number above 0`);
}

function requireEtcd(): void {
  try {
    execFileSync("etcd", ["--version"], { stdio: "ignore" });
  } catch {
    throw new Error(
      "etcd is not in PATH: install it from your system (apt install etcd-server, brew install etcd) or https://github.com/etcd-io/etcd/releases",
    );
  }
}

/** Made once, and the same at each start. */
async function keysIn(folder: string): Promise<{ accessKey: string; secretKey: string }> {
  const path = join(folder, "credentials.json");
  await mkdir(folder, { recursive: true, mode: 0o700 });
  try {
    return JSON.parse(await readFile(path, "utf8")) as { accessKey: string; secretKey: string };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  const keys = {
    accessKey: `AK${randomBytes(9).toString("hex").toUpperCase()}`,
    secretKey: randomBytes(30).toString("base64url"),
  };
  await writeFile(path, `${JSON.stringify(keys, null, 2)}\n`, { mode: 0o600 });
  return keys;
}

function show(member: string, line: string): void {
  if (!seen.includes(member)) seen.push(member);
  const colour = COLOURS[seen.indexOf(member) % COLOURS.length] ?? "cyan";
  process.stdout.write(`${styleText(colour, member.padEnd(NAME_WIDTH))} ${sentence(line)}\n`);
}

/** Our own lines are JSON; etcd's say the same in other words. */
function sentence(line: string): string {
  try {
    const {
      level,
      time,
      msg,
      ts: _,
      caller: __,
      ...fields
    } = JSON.parse(line) as Record<string, unknown>;
    const rest = Object.entries(fields).map(([name, value]) => {
      return `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`;
    });
    const mark = typeof level === "number" && level >= 40 ? "! " : "";
    const clock = typeof time === "string" ? `${time.slice(11, 19)} ` : "";
    return `${clock}${mark}${[String(msg), ...rest].join(" ")}`;
  } catch {
    return line;
  }
}

function screen(
  cluster: ProcessCluster,
  keys: { accessKey: string; secretKey: string },
  folder: string,
): string {
  const [first = ""] = cluster.endpoints;
  const [keeper] = cluster.of("keeper");
  const secret = isatty(1)
    ? keys.secretKey
    : `$(sed -n 's/.*"secretKey": "\\(.*\\)".*/\\1/p' ${join(folder, "credentials.json")})`;
  return `
  Cluster  ${cluster.of("storage").length} storage nodes, ${cluster.endpoints.length} gateways, ${cluster.of("keeper").length} keeper, etcd
  S3       ${cluster.endpoints.join("  ")}
  Data     ${folder}

  export AWS_ACCESS_KEY_ID=${keys.accessKey} AWS_SECRET_ACCESS_KEY=${secret} AWS_DEFAULT_REGION=us-east-1
  aws --endpoint-url ${first} s3 mb s3://my-bucket
  ANYBUCKET_ADMIN_TOKEN=${cluster.adminToken} npm start -- node list --admin-address 127.0.0.1:${keeper?.adminPort}

  Ctrl-C stops all of it.

`;
}
