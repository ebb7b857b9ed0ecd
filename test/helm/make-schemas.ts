/**
 * Kubernetes' own schemas of the kinds that the chart renders, without descriptions, as test/helm/kubernetes.json:
 *
 *     pip download --no-deps kubernetes-validate && unzip kubernetes_validate-*.whl -d wheel
 *     node test/helm/make-schemas.ts wheel/kubernetes_validate/kubernetes-json-schema 1.25.13 1.37.0
 *
 * They are strict: what Kubernetes does not know is refused. Run it again when the chart renders another kind.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

const KINDS = [
  "io.k8s.api.apps.v1.Deployment",
  "io.k8s.api.apps.v1.StatefulSet",
  "io.k8s.api.core.v1.Pod",
  "io.k8s.api.core.v1.Secret",
  "io.k8s.api.core.v1.Service",
  "io.k8s.api.core.v1.ServiceAccount",
  "io.k8s.api.networking.v1.Ingress",
  "io.k8s.api.networking.v1.NetworkPolicy",
  "io.k8s.api.policy.v1.PodDisruptionBudget",
];
const REFERENCE = /"#\/\$defs\/([^"]+)"/g;

const [source = "", ...versions] = parseArgs({ allowPositionals: true }).positionals;
const lines = versions.map((version) => {
  const path = join(source, `v${version}-local-strict/_definitions.json`);
  return `${JSON.stringify(version)}: {\n${reachable(path).join(",\n")}\n}`;
});
writeFileSync(join(import.meta.dirname, "kubernetes.json"), `{\n${lines.join(",\n")}\n}\n`);

/** A line for each definition, so that a new version is a readable change. */
function reachable(path: string): readonly string[] {
  const text = readFileSync(path, "utf8").replaceAll(/"[^"]*(#\/\$defs\/[^"]+)"/g, '"$1"');
  const { $defs: definitions } = JSON.parse(text) as { $defs: Record<string, unknown> };
  const found = new Map<string, string>();
  const waiting = [...KINDS];
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    if (found.has(name)) continue;
    const definition = JSON.stringify(stripped(definitions[name]));
    if (definition === undefined) throw new Error(`Cannot find ${name} in ${path}`);
    found.set(name, definition);
    for (const [, target = ""] of definition.matchAll(REFERENCE)) waiting.push(target);
  }
  return [...found]
    .toSorted(([one], [other]) => (one < other ? -1 : 1))
    .map(([name, definition]) => `${JSON.stringify(name)}: ${definition}`);
}

/** `description` is a property's name too: there it is an object. */
function stripped(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(stripped);
  if (typeof value !== "object" || value === null) return value;
  const kept = Object.entries(value).filter(
    ([name, one]) =>
      !(name === "description" && typeof one === "string") &&
      !name.startsWith("x-kubernetes-") &&
      name !== "format",
  );
  return Object.fromEntries(kept.map(([name, one]) => [name, stripped(one)]));
}
