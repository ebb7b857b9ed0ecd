/**
 * The images that tests run, made on this machine, so that no image registry is needed: a Debian root file system, etcd
 * on it, and Anybucket from deploy/Dockerfile. Each is named by what it is made of; what is there already is not made again.
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { globSync, readFileSync } from "node:fs";
import { cp, mkdir, mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { docker, isThere } from "./docker.ts";

const run = promisify(execFile);
const ROOT = resolve(import.meta.dirname, "../..");
const RELEASE = "trixie";
/** Where this machine, and Debian, keep whom to trust: a registry may be reached through an authority of one's own. */
const AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt";
/** With what deploy/Dockerfile is fed; .dockerignore says the same. */
const INGREDIENTS = [
  "package.json",
  "package-lock.json",
  ".dockerignore",
  "deploy/Dockerfile",
  "deploy/build.ts",
  "services/anybucket.js",
  "services/**/*.{ts,wasm}",
];
const NOT_INGREDIENTS = /\.(test|contract)\.ts$|\/testing\//;

export interface Images {
  readonly anybucket: string;
  readonly etcd: string;
}

export async function buildImages(): Promise<Images> {
  const base = await baseImage();
  return { anybucket: await anybucketImage(base), etcd: await etcdImage(base) };
}

/** Debian's smallest, and this machine's certificate authorities. */
async function baseImage(): Promise<string> {
  const name = `anybucket-test/base:${RELEASE}-${digest([readFileSync(AUTHORITIES)])}`;
  return made(name, async (folder) => {
    const root = join(folder, "root");
    await run("debootstrap", ["--variant=minbase", RELEASE, root], { maxBuffer: 2 ** 26 });
    await mkdir(join(root, dirname(AUTHORITIES)), { recursive: true });
    await cp(AUTHORITIES, join(root, AUTHORITIES));
    await rm(join(root, "var/cache/apt/archives"), { recursive: true });
    await mkdir(join(root, "var/cache/apt/archives/partial"), { recursive: true });
    await importTree(root, name);
  });
}

/** The base with this Node and its npm, as a project's build image has them. */
async function buildImage(base: string): Promise<string> {
  const npm = await npmFolder();
  const { stdout: registry } = await run("npm", ["config", "get", "registry"]);
  const version = readFileSync(join(npm, "package.json"));
  const parts = [base, "libatomic1", process.version, version, registry];
  return made(`anybucket-test/build:${digest(parts)}`, async (folder, name) => {
    await cp(process.execPath, join(folder, "node"));
    await cp(npm, join(folder, "npm"), { recursive: true });
    await writeFile(join(folder, "npmrc"), `registry=${registry.trim()}\ncafile=${AUTHORITIES}\n`);
    await buildFrom(folder, name, [
      `FROM ${base}`,
      "RUN apt-get update && apt-get install -y --no-install-recommends libatomic1",
      "COPY node /usr/local/bin/node",
      "COPY npm /usr/local/lib/node_modules/npm",
      "COPY npmrc /root/.npmrc",
      "RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm",
    ]);
  });
}

/** Its command is `bin/npm-cli.js` in it. Its own word is about the Node that runs it, which need not be the one it came with. */
async function npmFolder(): Promise<string> {
  const { stdout } = await run("sh", ["-c", "command -v npm"]);
  return dirname(dirname(await realpath(stdout.trim())));
}

async function etcdImage(base: string): Promise<string> {
  const name = `anybucket-test/etcd:${digest([base])}`;
  return made(name, (folder) =>
    buildFrom(folder, name, [
      `FROM ${base}`,
      "RUN apt-get update && apt-get install -y --no-install-recommends etcd-server etcd-client && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin",
      "EXPOSE 2379 2380",
      'ENTRYPOINT ["etcd"]',
    ]),
  );
}

async function anybucketImage(base: string): Promise<string> {
  const files = globSync(INGREDIENTS, { cwd: ROOT })
    .filter((path) => !NOT_INGREDIENTS.test(path))
    .toSorted();
  const contents = files.flatMap((path) => [path, readFileSync(join(ROOT, path))]);
  const name = `anybucket-test/anybucket:${digest([base, ...contents])}`;
  return made(name, async () => {
    const builder = await buildImage(base);
    const args = { BASE_IMAGE: base, BUILD_IMAGE: builder };
    await docker(
      "build",
      "--network=host",
      ...Object.entries(args).flatMap(([key, value]) => ["--build-arg", `${key}=${value}`]),
      `--file=${join(ROOT, "deploy/Dockerfile")}`,
      `--tag=${name}`,
      ROOT,
    );
  });
}

/** Makes it unless it is there; `folder` is empty, and gone afterwards. */
async function made(
  name: string,
  make: (folder: string, name: string) => Promise<void>,
): Promise<string> {
  if (await isThere("image", "inspect", name)) return name;
  const folder = await mkdtemp(join(tmpdir(), "anybucket-image-"));
  try {
    await make(folder, name);
  } finally {
    await rm(folder, { recursive: true });
  }
  await removeEarlier(name);
  return name;
}

/** Each change of the source makes an image: those that came before this one are of no more use. */
async function removeEarlier(name: string): Promise<void> {
  const [repository = ""] = name.split(":");
  const all = await docker("image", "ls", "--format={{.Repository}}:{{.Tag}}", repository);
  for (const earlier of all.split("\n")) {
    // One that a container still uses stays until next time.
    if (earlier !== name && earlier !== "") await isThere("image", "rm", earlier);
  }
}

async function buildFrom(folder: string, name: string, lines: readonly string[]): Promise<void> {
  await writeFile(join(folder, "Dockerfile"), `${lines.join("\n")}\n`);
  await docker("build", "--network=host", `--tag=${name}`, folder);
}

async function importTree(tree: string, name: string): Promise<void> {
  const archive = `${tree}.tar`;
  await run("tar", ["--create", `--file=${archive}`, `--directory=${tree}`, "."]);
  await docker("import", archive, name);
}

function digest(parts: readonly (string | Buffer)[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(`${part.length}:`).update(part);
  return hash.digest("hex").slice(0, 16);
}
