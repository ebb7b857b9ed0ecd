/** The chart of helm/: what it renders is what Kubernetes takes, "restricted" lets in, and our settings are. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { readSettings } from "#settings.ts";
import { roleNamesOf } from "#shards/role-names.ts";
import packageJson from "../../package.json" with { type: "json" };
import { isInstalled } from "../clients/programs.ts";
import { CHART, faultsOf, helm, type Resource, render, renderNotes, VERSIONS } from "./helm.ts";

const RENDERINGS: Readonly<Record<string, Record<string, unknown>>> = {
  "as it stands": {},
  "one node": {
    gateway: { replicas: 1 },
    storage: { replicas: 1, disks: 1 },
    keeper: { replicas: 1 },
    etcd: { replicas: 1 },
  },
  "three zones": {
    storage: {
      zones: ["eu-1a", "eu-1b", "eu-1c"],
      replicas: 2,
      disks: 4,
      spread: "hard",
      persistence: { size: "1Ti", storageClass: "local" },
    },
  },
  "external etcd": {
    etcd: {
      external: {
        endpoints: ["https://etcd-1:2379", "https://etcd-2:2379"],
        tlsSecret: "etcd-client",
        user: "anybucket",
        passwordSecret: "etcd-password",
      },
    },
  },
  "existing secrets": {
    auth: { existingSecret: "my-keys" },
    etcd: { tls: { existingSecret: "my-etcd" } },
    clusterTls: {
      gatewaySecret: "as-gateway",
      storageSecret: "as-storage",
      keeperSecret: "as-keeper",
    },
    serviceAccount: { create: false, name: "mine" },
    imagePullSecrets: [{ name: "pull" }],
  },
  TLS: { gateway: { tls: { existingSecret: "certificate" } }, etcd: { tls: { enabled: true } } },
  "plain text": { etcd: { tls: { enabled: false } }, clusterTls: { enabled: false } },
  "everything optional": {
    ingress: {
      enabled: true,
      host: "s3.example.com",
      className: "nginx",
      tlsSecret: "certificate",
    },
    serviceMonitor: { enabled: true },
    networkPolicy: {
      clients: [{ namespaceSelector: {} }],
      monitoring: [{ namespaceSelector: { matchLabels: { name: "monitoring" } } }],
    },
    extraEnv: {
      ANYBUCKET_REGION: "eu-central-1",
      ANYBUCKET_ACCESS_LOG: false,
      ANYBUCKET_PLACEMENT_GROUPS: 512,
    },
    storage: {
      extraEnv: { ANYBUCKET_WEIGHT: 2 },
      nodeSelector: { disk: "large" },
      tolerations: [{ operator: "Exists" }],
    },
    buckets: ["one", "two"],
  },
  "as little as possible": {
    podDisruptionBudget: { enabled: false },
    networkPolicy: { enabled: false },
  },
};
const NAMES = Object.keys(RENDERINGS);
const OURS = ["gateway", "storage", "keeper"];

interface Container {
  readonly name: string;
  readonly image: string;
  readonly env?: readonly { name: string; value?: string; valueFrom?: object }[];
  readonly securityContext?: Record<string, unknown>;
  readonly volumeMounts?: readonly { name: string; mountPath: string; subPath?: string }[];
  readonly [more: string]: unknown;
}

interface PodSpec {
  readonly containers: readonly Container[];
  readonly securityContext?: Record<string, unknown>;
  readonly volumes?: readonly { name: string; secret?: { secretName: string } }[];
  readonly [more: string]: unknown;
}

interface Pod {
  readonly role: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly spec: PodSpec;
  readonly claims: readonly string[];
}

function podsOf(resources: readonly Resource[]): readonly Pod[] {
  return resources.flatMap(({ kind, spec, metadata }) => {
    const { template, volumeClaimTemplates = [] } = (spec ?? {}) as {
      template?: { metadata: Resource["metadata"]; spec: PodSpec };
      volumeClaimTemplates?: readonly Resource[];
    };
    const pod =
      kind === "Pod"
        ? { labels: metadata.labels, spec: spec as PodSpec }
        : template && { labels: template.metadata.labels, spec: template.spec };
    if (!pod) return [];
    const { labels = {} } = pod;
    const claims = volumeClaimTemplates.map((claim) => claim.metadata.name);
    return [{ role: labels["app.kubernetes.io/component"] ?? "", labels, spec: pod.spec, claims }];
  });
}

function isSecret({ kind }: Resource): boolean {
  return kind === "Secret";
}

function environmentOf({ env = [] }: Container): Record<string, string> {
  return Object.fromEntries(env.map(({ name, value = "of-the-pod" }) => [name, value]));
}

describe.skipIf(!isInstalled("helm"))("the chart", () => {
  test("helm lint finds nothing", async () => {
    expect(await helm(["lint", "--strict", CHART])).toContain("0 chart(s) failed");
  });

  describe.each(NAMES)("%s", (name) => {
    let rendered: readonly Resource[];

    beforeAll(async () => {
      rendered = await render(RENDERINGS[name] ?? {});
    });

    test.each(VERSIONS)("is what Kubernetes %s takes", async (version) => {
      const resources = await render(RENDERINGS[name] ?? {}, version);
      const builtin = resources.filter(({ kind }) => kind !== "ServiceMonitor");
      expect(builtin.length).toBeGreaterThan(8);
      expect(builtin.flatMap((resource) => faultsOf(resource, version))).toEqual([]);
    });

    test("names nothing twice", async () => {
      const names = rendered.map(({ kind, metadata }) => `${kind} ${metadata.name}`);
      expect(names.filter((one, at) => names.indexOf(one) !== at)).toEqual([]);
      for (const { spec } of podsOf(rendered)) {
        for (const { env = [] } of spec.containers) {
          const variables = env.map((one) => one.name);
          expect(variables.filter((one, at) => variables.indexOf(one) !== at)).toEqual([]);
        }
      }
    });

    test('runs in a name space that enforces "restricted"', async () => {
      for (const { spec } of podsOf(rendered)) {
        expect(spec.securityContext).toMatchObject({
          runAsNonRoot: true,
          seccompProfile: { type: "RuntimeDefault" },
        });
        for (const container of spec.containers) {
          expect(container.securityContext).toMatchObject({
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ["ALL"] },
          });
        }
        for (const { name: volume, ...source } of spec.volumes ?? []) {
          expect(Object.keys(source), `of ${volume}`).toEqual(["secret"]);
        }
      }
    });

    test("every mount has its volume", async () => {
      for (const { role, spec, claims } of podsOf(rendered)) {
        const volumes = [
          ...(spec.volumes ?? []).map((volume) => volume.name),
          ...claims,
        ].toSorted();
        const mounts = spec.containers.flatMap(({ volumeMounts = [] }) => volumeMounts);
        expect(mounts.map((mount) => mount.name).toSorted(), `of ${role}`).toEqual(volumes);
      }
    });

    test("every Secret that it mounts is its own, or one that the values name", async () => {
      const made = rendered.filter(({ kind }) => kind === "Secret");
      const named = JSON.stringify(RENDERINGS[name]);
      for (const { spec } of podsOf(rendered)) {
        for (const { secret } of spec.volumes ?? []) {
          const { secretName = "" } = secret ?? {};
          const isMade = made.some(({ metadata }) => metadata.name === secretName);
          expect(isMade || named.includes(`"${secretName}"`), `of ${secretName}`).toBe(true);
        }
      }
    });

    // Kubernetes renews the files of a Secret in place, but for those that are mounted one by one.
    test("what is renewed in a Secret reaches the processes that have it", () => {
      for (const { role, spec } of podsOf(rendered)) {
        const secrets = (spec.volumes ?? []).filter(({ secret }) => secret);
        for (const { volumeMounts = [] } of spec.containers) {
          const mounts = volumeMounts.filter((mount) =>
            secrets.some(({ name: volume }) => volume === mount.name),
          );
          expect(
            mounts.filter(({ subPath }) => subPath !== undefined),
            `of ${role}`,
          ).toEqual([]);
        }
      }
    });

    // Whose issuer has its own name counts as self-signed, and nobody believes it.
    test("each certificate that it makes is its authority's, under another name", () => {
      for (const { kind, metadata, data } of rendered) {
        const { "ca.crt": ca = "", "tls.crt": made } = (data ?? {}) as Record<string, string>;
        if (kind !== "Secret" || made === undefined || ca === "") continue;
        const authority = new X509Certificate(Buffer.from(ca, "base64"));
        const certificate = new X509Certificate(Buffer.from(made, "base64"));
        expect(certificate.subject, `of ${metadata.name}`).not.toBe(certificate.issuer);
        expect(certificate.verify(authority.publicKey), `of ${metadata.name}`).toBe(true);
      }
    });

    test("our processes take the settings that they are given", async () => {
      for (const { role, spec } of podsOf(rendered)) {
        if (!OURS.includes(role)) continue;
        for (const container of spec.containers) {
          const environment = environmentOf(container);
          // Files are the cluster's to bring: what they hold stands in for them.
          for (const file of ["ACCESS_KEY", "SECRET_KEY", "ADMIN_TOKEN", "ETCD_PASSWORD"]) {
            if (environment[`ANYBUCKET_${file}_FILE`] === undefined) continue;
            delete environment[`ANYBUCKET_${file}_FILE`];
            environment[`ANYBUCKET_${file}`] = "twenty-characters-long";
          }
          const { faults } = readSettings({ environment, flags: {} }, role as "gateway");
          expect(faults, `of ${role}`).toEqual([]);
          expect(environment["ANYBUCKET_ETCD"], `of ${role}`).toMatch(/^https?:\/\//);
        }
      }
    });

    test("our processes are told the quota that the chart's etcd has", async () => {
      const pods = podsOf(rendered);
      const etcd = pods.find(({ role }) => role === "etcd");
      const quota = /--quota-backend-bytes=(\d+)/.exec(JSON.stringify(etcd?.spec))?.[1];
      for (const { role, spec } of pods) {
        if (!OURS.includes(role)) continue;
        const environment = environmentOf(spec.containers[0] as Container);
        expect(environment["ANYBUCKET_ETCD_QUOTA"], `of ${role}`).toBe(quota);
      }
    });

    test("selectors find pods, and each budget and Service those of one role", async () => {
      const pods = podsOf(rendered);
      const selecting = rendered.filter(
        ({ kind, metadata }) =>
          kind === "PodDisruptionBudget" ||
          (kind === "Service" && !metadata.name.endsWith("-metrics")),
      );
      for (const { kind, metadata, spec } of selecting) {
        const { selector } = spec as { selector: { matchLabels?: Record<string, string> } };
        const wanted = Object.entries(selector.matchLabels ?? selector);
        const found = pods.filter(({ labels }) =>
          wanted.every(([key, value]) => labels[key] === value),
        );
        expect(new Set(found.map(({ role }) => role)).size, `${kind} ${metadata.name}`).toBe(1);
      }
    });

    test("the long-running have all three probes", async () => {
      for (const { role, spec } of podsOf(rendered)) {
        if (role === "test") continue;
        for (const container of spec.containers) {
          expect(Object.keys(container), `of ${role}`).toEqual(
            expect.arrayContaining([
              "startupProbe",
              "livenessProbe",
              "readinessProbe",
              "resources",
            ]),
          );
        }
      }
    });
  });

  test("each zone has its nodes, and each node its disks", async () => {
    const storage = podsOf(await render(RENDERINGS["three zones"] ?? {})).filter(
      ({ role }) => role === "storage",
    );
    const environments = storage.map(({ spec }) => environmentOf(spec.containers[0] as Container));
    expect(environments.map((one) => one["ANYBUCKET_ZONE"])).toEqual(["eu-1a", "eu-1b", "eu-1c"]);
    for (const [at, environment] of environments.entries()) {
      expect(environment["ANYBUCKET_INITIAL_NODES"]).toBe("6");
      const { settings } = readSettings({ environment, flags: {} }, "storage");
      expect(settings.folders).toEqual([
        "/data/disk1",
        "/data/disk2",
        "/data/disk3",
        "/data/disk4",
      ]);
      expect(storage[at]?.claims).toEqual(["disk1", "disk2", "disk3", "disk4"]);
    }
  });

  test("keys are made, each time others, and none where a Secret is named", async () => {
    const [one, other] = [await madeKeys({}), await madeKeys({})];
    expect(Object.keys(one ?? {}).toSorted()).toEqual(["access-key", "admin-token", "secret-key"]);
    for (const [name, value] of Object.entries(one ?? {})) {
      expect(value.length).toBeGreaterThan(24);
      expect(value).not.toBe(other?.[name]);
    }
    const given = await madeKeys({
      auth: { accessKey: "my-access-key", secretKey: "my-secret-key" },
    });
    expect(Buffer.from(given?.["secret-key"] ?? "", "base64").toString()).toBe("my-secret-key");
    expect(await madeKeys({ auth: { existingSecret: "my-keys" } })).toBe(undefined);
  });

  describe("certificates of our processes", () => {
    test("change no pod when they are made anew, so that none is started again for them", async () => {
      const [one, other] = [await render({}), await render({})];
      const [secrets, others] = [one, other].map((all) => all.filter(isSecret));
      expect(secrets).not.toEqual(others);
      expect(podsOf(one).length).toBeGreaterThan(3);
      expect(one.map(({ spec }) => spec)).toEqual(other.map(({ spec }) => spec));
    });

    test.each(["as it stands", "three zones", "external etcd"])(
      "with %s name each role, and each storage node, to the others",
      async (name) => {
        const rendered = await render(RENDERINGS[name] ?? {});
        const nodes = rendered.flatMap(({ kind, metadata, spec }) => {
          if (kind !== "StatefulSet" || metadata.name.includes("-etcd")) return [];
          const { replicas } = spec as { replicas: number };
          return Array.from({ length: replicas }, (_, at) => `${metadata.name}-${at}`);
        });
        expect(nodes.length).toBeGreaterThan(2);
        for (const role of OURS) {
          const names = role === "storage" ? nodes : [`store-anybucket-${role}`];
          const wanted = names.map((one) => ({ cluster: "anybucket", role, name: one }));
          expect(roleNamesOf(certificateOf(rendered, role))).toEqual(wanted);
        }
      },
    );

    test("are signed by the one authority that all of them trust, and are none themselves", async () => {
      const rendered = await render({});
      const authority = certificateIn(rendered, "ca", "tls.crt");
      expect(authority.ca).toBe(true);
      for (const role of OURS) {
        const certificate = certificateOf(rendered, role);
        expect(certificate.verify(authority.publicKey)).toBe(true);
        expect(certificate.ca).toBe(false);
        expect(certificateIn(rendered, role, "ca.crt").raw).toEqual(authority.raw);
        const key = createPrivateKey(pemIn(rendered, role, "tls.key"));
        expect(certificate.checkPrivateKey(key)).toBe(true);
      }
    });

    test("are each with the role's own processes only, and the authority's key with nobody", async () => {
      for (const { role, spec } of podsOf(await render({}))) {
        const secrets = (spec.volumes ?? []).map(({ secret }) => secret?.secretName ?? "");
        const certificates = secrets.filter((name) => name.startsWith("store-anybucket-cluster-"));
        const own = OURS.includes(role) ? [`store-anybucket-cluster-${role}`] : [];
        expect(certificates, `of ${role}`).toEqual(own);
      }
    });

    test("are not made for a cluster whose name would be read in two ways", async () => {
      const clusterName = "my.cluster";
      await expect(render({ clusterName })).rejects.toThrow("Cannot make certificates");
      const { clusterTls } = RENDERINGS["existing secrets"] ?? {};
      expect((await render({ clusterName, clusterTls })).length).toBeGreaterThan(8);
    });
  });

  describe("values.schema.json", () => {
    const schema = JSON.parse(readFileSync(join(CHART, "values.schema.json"), "utf8")) as {
      $defs: { settings: { properties: Record<string, unknown> } };
    };

    test("knows every setting but those that the chart sets", async () => {
      const set = new Set<string>();
      for (const values of Object.values(RENDERINGS)) {
        for (const { spec } of podsOf(await render(withoutExtra(values)))) {
          for (const { env = [] } of spec.containers) {
            for (const { name } of env) set.add(name.replace(/_FILE$/, "")).add(name);
          }
        }
      }
      const { rows } = readSettings({ environment: {}, flags: {} });
      const wanted = rows
        .map(({ variable }) => variable)
        .filter((name) => !set.has(name) && !NOT_IN_A_POD.includes(name));
      const known = Object.keys(schema.$defs.settings.properties);
      expect(known.toSorted()).toEqual([...wanted, "ANYBUCKET_DOMAINS"].toSorted());
    });

    test.each([
      ["a value that there is not", { gatewy: {} }, "gatewy"],
      [
        "a value deep down that there is not",
        { storage: { persistence: { sise: "1Gi" } } },
        "sise",
      ],
      ["a setting that there is not", { extraEnv: { ANYBUCKET_REGON: "eu" } }, "ANYBUCKET_REGON"],
      [
        "a setting that the chart sets",
        { extraEnv: { ANYBUCKET_ETCD: "http://etcd:2379" } },
        "ANYBUCKET_ETCD",
      ],
      ["an even number of etcd's members", { etcd: { replicas: 2 } }, "replicas"],
      ["certificates for some roles only", { clusterTls: { gatewaySecret: "one" } }, "clusterTls"],
      ["no nodes", { storage: { replicas: 0 } }, "replicas"],
      ["a size that is none", { storage: { persistence: { size: "ten" } } }, "size"],
    ])("refuses %s", async (_, values, named) => {
      await expect(render(values)).rejects.toThrow(named);
    });
  });

  test.each(NAMES)("with %s the notes end in lines to paste", async (name) => {
    const notes = await renderNotes(RENDERINGS[name] ?? {});
    expect(notes).toContain("\n  helm test store --namespace there\n");
    const scheme = name === "TLS" ? "https" : "http";
    const last = `  aws --endpoint-url ${scheme}://127.0.0.1:9000 s3 mb s3://my-bucket`;
    expect(notes.trimEnd().split("\n").at(-1)).toBe(last);
  });

  test("the notes warn of a store that one disk can take with it", async () => {
    expect(await warningsOf("one node")).toEqual([
      expect.stringContaining("with 1 storage node,"),
      expect.stringContaining("etcd has 1 member:"),
    ]);
    expect(await warningsOf("as it stands")).toEqual([]);
  });

  test("the notes warn of processes that speak in plain text", async () => {
    expect(await warningsOf("plain text")).toEqual([expect.stringContaining("in plain text;")]);
  });

  test("the chart is of this version", () => {
    const chart = readFileSync(join(CHART, "Chart.yaml"), "utf8");
    expect(chart).toContain(`\nappVersion: ${packageJson.version}\n`);
  });
});

function certificateOf(rendered: readonly Resource[], role: string): X509Certificate {
  return certificateIn(rendered, role, "tls.crt");
}

function certificateIn(rendered: readonly Resource[], of: string, file: string): X509Certificate {
  return new X509Certificate(pemIn(rendered, of, file));
}

/** Of one of the Secrets with which our processes speak to each other. */
function pemIn(rendered: readonly Resource[], of: string, file: string): Buffer {
  const secret = rendered.find(({ metadata }) => metadata.name === `store-anybucket-cluster-${of}`);
  const data = secret?.["data"] as Readonly<Record<string, string>> | undefined;
  return Buffer.from(data?.[file] ?? "", "base64");
}

/** Of the Secret that the chart makes, if it does. */
async function madeKeys(
  values: Record<string, unknown>,
): Promise<Readonly<Record<string, string>> | undefined> {
  const secret = (await render(values)).find(
    ({ kind, metadata }) => kind === "Secret" && metadata.name.endsWith("-keys"),
  );
  return secret?.["data"] as Record<string, string> | undefined;
}

async function warningsOf(name: string): Promise<readonly string[]> {
  return (await renderNotes(RENDERINGS[name] ?? {})).match(/^WARNING: .*/gm) ?? [];
}

function withoutExtra(values: Record<string, unknown>): Record<string, unknown> {
  const storage = { ...(values["storage"] as object | undefined), extraEnv: {} };
  return { ...values, extraEnv: {}, storage };
}

/** Of the ports and files that the chart has laid down, and of the role "all". */
const NOT_IN_A_POD = [
  "ADDRESS",
  "ADMIN_ADDRESS",
  "GRPC_ADDRESS",
  "USERS_FILE",
  "WORKERS",
  "GATEWAY",
  "CONNECTION_SPREAD",
].map((name) => `ANYBUCKET_${name}`);
