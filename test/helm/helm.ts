/** Helm as the tests use it, and what the chart is checked against. */
import { execFile } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { Ajv, type ValidateFunction } from "ajv";
import { parseAllDocuments } from "yaml";

const run = promisify(execFile);
export const CHART = resolve(import.meta.dirname, "../../helm");
export const VERSIONS = ["1.25.0", "1.37.0"] as const;
export type Version = (typeof VERSIONS)[number];

export interface Resource {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
  readonly [more: string]: unknown;
}

/** What `helm template` renders for these values. */
export async function render(
  values: Readonly<Record<string, unknown>>,
  version: Version = "1.37.0",
  chart = CHART,
): Promise<readonly Resource[]> {
  const text = await helm(
    ["template", "store", chart, "--namespace=there", `--kube-version=${version}`, "--values=-"],
    JSON.stringify(values),
  );
  return resourcesIn(text);
}

/** The same as an upgrade renders it, where templates look up these Secrets: an API server that knows no more stands in. */
export async function renderUpgrade(
  values: Readonly<Record<string, unknown>>,
  there: readonly Resource[],
): Promise<readonly Resource[]> {
  const secrets = there.filter(({ kind }) => kind === "Secret");
  const server = createServer((asked, answer) => {
    const path = asked.url?.split("?")[0] ?? "";
    const secret = secrets.find(({ metadata }) => path === `${SECRETS_PATH}/${metadata.name}`);
    const found = path === "/api/v1" ? SECRETS_ONLY : secret;
    answer.writeHead(found ? 200 : 404, { "content-type": "application/json" });
    answer.end(JSON.stringify(found ?? { kind: "Status", apiVersion: "v1", reason: "NotFound" }));
  });
  const folder = await mkdtemp(join(tmpdir(), "anybucket-kubeconfig-"));
  try {
    await once(server.listen(0, "127.0.0.1"), "listening");
    const kubeconfig = join(folder, "config");
    await writeFile(kubeconfig, kubeconfigOf((server.address() as AddressInfo).port));
    const asking = ["--dry-run=server", `--kubeconfig=${kubeconfig}`, "--kube-version=1.37.0"];
    const template = ["template", "store", CHART, "--namespace=there", "--values=-"];
    return resourcesIn(await helm([...template, ...asking], JSON.stringify(values)));
  } finally {
    server.close();
    await rm(folder, { recursive: true });
  }
}

const SECRETS_PATH = "/api/v1/namespaces/there/secrets";
const SECRETS_ONLY = {
  kind: "APIResourceList",
  apiVersion: "v1",
  groupVersion: "v1",
  resources: [{ name: "secrets", namespaced: true, kind: "Secret", verbs: ["get"] }],
};

/** YAML takes JSON. */
function kubeconfigOf(port: number): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "here", cluster: { server: `http://127.0.0.1:${port}` } }],
    users: [{ name: "me", user: {} }],
    contexts: [{ name: "here", context: { cluster: "here", user: "me" } }],
    "current-context": "here",
  });
}

function resourcesIn(text: string): readonly Resource[] {
  return parseAllDocuments(text, { uniqueKeys: true })
    .map((document) => {
      const [fault] = document.errors;
      if (fault !== undefined) throw new Error(`Cannot read a rendering: ${fault.message}`);
      return document.toJS() as Resource | null;
    })
    .filter((resource) => resource !== null);
}

/** Helm shows them at an installation only, which takes a cluster: here they are a resource of a copy. */
export async function renderNotes(values: Readonly<Record<string, unknown>>): Promise<string> {
  const copy = await mkdtemp(join(tmpdir(), "anybucket-chart-"));
  try {
    await cp(CHART, copy, { recursive: true });
    const notes = await readFile(join(CHART, "templates/NOTES.txt"), "utf8");
    const resource =
      'kind: Notes\nmetadata: { name: notes }\ntext: {{ include "notes" . | quote }}\n';
    const template = `{{ define "notes" }}${notes}{{ end }}\n${resource}`;
    await writeFile(join(copy, "templates/notes.yaml"), template);
    const resources = await render(values, "1.37.0", copy);
    return String(resources.find(({ kind }) => kind === "Notes")?.["text"]);
  } finally {
    await rm(copy, { recursive: true });
  }
}

export async function helm(args: readonly string[], input = ""): Promise<string> {
  const running = run("helm", args, { maxBuffer: 2 ** 26 });
  running.child.stdin?.end(input);
  const { stdout } = await running;
  return stdout;
}

const ajv = new Ajv({ strict: false });
for (const [version, definitions] of Object.entries(
  JSON.parse(readFileSync(join(import.meta.dirname, "kubernetes.json"), "utf8")) as object,
)) {
  ajv.addSchema({ $id: version, $defs: definitions });
}

/** What Kubernetes of that version finds wrong with it, a line each. */
export function faultsOf(resource: Resource, version: Version): readonly string[] {
  const { apiVersion, kind, metadata } = resource;
  const name = `${kind} ${metadata.name}`;
  const check = schemaOf(apiVersion, kind, version);
  if (check === undefined) return [`${name}: ${apiVersion} has no such kind`];
  if (check(resource)) return [];
  return (check.errors ?? []).map(
    ({ instancePath, message, params }) =>
      `${name}: ${instancePath} ${message} ${JSON.stringify(params)}`,
  );
}

function schemaOf(
  apiVersion: string,
  kind: string,
  version: Version,
): ValidateFunction | undefined {
  const group = apiVersion === "v1" ? "core/v1" : apiVersion.replace(".k8s.io/", "/");
  const name = `io.k8s.api.${group.replace("/", ".")}.${kind}`;
  return ajv.getSchema(`${version}#/$defs/${name}`);
}
