/** The chart, installed on the cluster that KUBECONFIG names, in a name space of its own, and the load beside it. */
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { CHART, helm } from "../helm/helm.ts";

const run = promisify(execFile);
const LOAD = join(import.meta.dirname, "load.mts");
/** A pod takes seconds; an upgrade of everything on two busy cores takes minutes. */
const WAIT = "15m";
const WAIT_MS = 15 * 60_000;

const {
  ANYBUCKET_TEST_IMAGE: image = "anybucket-test/anybucket:kubernetes",
  ANYBUCKET_TEST_NEXT_IMAGE: nextImage = image,
  ANYBUCKET_TEST_ETCD_IMAGE: etcdImage = "anybucket-test/etcd:kubernetes",
  ANYBUCKET_TEST_VALUES: valuesFile,
} = process.env;

export const ROLES = ["gateway", "storage", "keeper", "etcd"] as const;
export type Role = (typeof ROLES)[number];

export interface Counts {
  readonly reads: number;
  readonly writes: number;
  readonly failedAttempts: number;
  readonly failedReads: number;
  readonly failedWrites: number;
  readonly slowestMs: number;
}

export interface Finished {
  readonly kept: number;
  readonly faults: readonly string[];
  readonly counts: Counts;
}

export interface Pod {
  readonly name: string;
  readonly uid: string;
}

export class Release implements AsyncDisposable {
  readonly name = "store";
  readonly namespace: string;

  private constructor(namespace: string) {
    this.namespace = namespace;
  }

  /** In a name space where "restricted" is enforced. */
  static async create(): Promise<Release> {
    if (!process.env["KUBECONFIG"]) {
      throw new Error("Cannot test on Kubernetes: KUBECONFIG names no cluster");
    }
    const release = new Release(`anybucket-test-${randomBytes(4).toString("hex")}`);
    const enforced = ["enforce", "warn"].map((mode) => [
      `pod-security.kubernetes.io/${mode}`,
      "restricted",
    ]);
    await release.apply({
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name: release.namespace, labels: Object.fromEntries(enforced) },
    });
    return release;
  }

  /** What `helm` says. `next`: another image where there is one, and settings that have every pod made anew. */
  async install(command: "install" | "upgrade", { next = false } = {}): Promise<string> {
    const values = {
      image: imageValues(next ? nextImage : image),
      etcd: {
        image: imageValues(etcdImage),
        quotaBytes: next ? 4_294_967_296 : 2_147_483_648,
        ...SMALL,
      },
      gateway: SMALL,
      keeper: SMALL,
      storage: { ...SMALL, persistence: { size: "4Gi" } },
      extraEnv: { ANYBUCKET_LOG_LEVEL: next ? "debug" : "info", ANYBUCKET_ACCESS_LOG: false },
    };
    const files = valuesFile === undefined ? [] : ["--values", valuesFile];
    const waiting = ["--wait", "--timeout", WAIT];
    return this.helm([command, this.name, CHART, "--values=-", ...files, ...waiting], values);
  }

  async helm(args: readonly string[], input?: object): Promise<string> {
    return helm([...args, "--namespace", this.namespace], input && JSON.stringify(input));
  }

  async kubectl(args: readonly string[], input = ""): Promise<string> {
    const all = ["--namespace", this.namespace, ...args];
    const running = run("kubectl", all, { maxBuffer: 2 ** 28 });
    running.child.stdin?.end(input);
    return (await running).stdout;
  }

  async apply(resource: object): Promise<void> {
    await this.kubectl(["apply", "--filename=-"], JSON.stringify(resource));
  }

  async list<T>(kind: string, selector = ""): Promise<readonly T[]> {
    const text = await this.kubectl(["get", kind, `--selector=${selector}`, "--output=json"]);
    return (JSON.parse(text) as { items: readonly T[] }).items;
  }

  async pods(role: Role): Promise<readonly Pod[]> {
    const found = await this.list<{ metadata: Pod }>(
      "pods",
      `app.kubernetes.io/instance=${this.name},app.kubernetes.io/component=${role}`,
    );
    return found.map(({ metadata: { name, uid } }) => ({ name, uid }));
  }

  /** The member that leads the others. */
  async etcdLeader(): Promise<string> {
    for (const { name } of await this.pods("etcd")) {
      const metrics = await this.kubectl([
        "get",
        "--raw",
        `/api/v1/namespaces/${this.namespace}/pods/${name}:2381/proxy/metrics`,
      ]);
      if (/^etcd_server_is_leader 1$/m.test(metrics)) return name;
    }
    throw new Error("Cannot find etcd's leader: no member says that it is");
  }

  /** Until all of the role's pods are there, and ready. */
  async settled(role: Role): Promise<void> {
    const kind = role === "storage" || role === "etcd" ? "statefulset" : "deployment";
    const target = `${kind}/${this.name}-anybucket-${role}`;
    await this.kubectl(["rollout", "status", target, `--timeout=${WAIT}`]);
  }

  /** A pod of load.mts, which speaks to the gateways' Service as any client in the cluster does. */
  async start(mode: "load" | "check"): Promise<Load> {
    const name = `${mode}-${randomBytes(3).toString("hex")}`;
    const script = ["create", "configmap", name, `--from-file=load.mts=${LOAD}`];
    await this.kubectl(script);
    const address = `http://${this.name}-anybucket.${this.namespace}.svc:9000`;
    await this.apply(loadPod({ name, args: [mode, address], keys: `${this.name}-anybucket-keys` }));
    return new Load(this, name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kubectl(["delete", "namespace", this.namespace, "--timeout=5m"]);
  }
}

export class Load {
  readonly #release: Release;
  readonly #name: string;

  constructor(release: Release, name: string) {
    this.#release = release;
    this.#name = name;
  }

  /** Until it has been at work for so many seconds. */
  async worked(seconds: number): Promise<void> {
    const wanted = (await this.#seconds()).length + seconds;
    await until(`${this.#name} works`, async () => (await this.#seconds()).length >= wanted);
  }

  /** What it met while `work` ran, and for some seconds after it. */
  async during(work: () => Promise<void>): Promise<Counts> {
    const before = await this.#seconds();
    await work();
    await this.worked(AFTER_S);
    const after = (await this.#seconds()).slice(before.length);
    const since = (name: keyof Counts) =>
      (after.at(-1)?.[name] ?? 0) - (before.at(-1)?.[name] ?? 0);
    return {
      reads: since("reads"),
      writes: since("writes"),
      failedAttempts: since("failedAttempts"),
      failedReads: since("failedReads"),
      failedWrites: since("failedWrites"),
      slowestMs: Math.max(...after.map(({ slowestMs }) => slowestMs)),
    };
  }

  /** Has it end, and read all that it keeps. */
  async stop(): Promise<Finished> {
    await this.#release.kubectl(["exec", this.#name, "--", "sh", "-c", "kill -TERM 1"]);
    return this.finished();
  }

  async finished(): Promise<Finished> {
    await until(`${this.#name} ends`, async () => {
      const phase = ["get", "pod", this.#name, "--output=jsonpath={.status.phase}"];
      return /Succeeded|Failed/.test(await this.#release.kubectl(phase));
    });
    const last = (await this.#lines()).findLast((line) => "finished" in line);
    if (last?.finished) return last.finished;
    throw new Error(`Cannot read how ${this.#name} ended: it says nothing of it`);
  }

  /** Single attempts that brought no right answer. */
  async failures(): Promise<readonly string[]> {
    const failed = (await this.#lines()).filter((line) => "failed" in line);
    return failed.map((line) => JSON.stringify(line));
  }

  async #seconds(): Promise<readonly Counts[]> {
    return (await this.#lines()).flatMap(({ counts }) => counts ?? []);
  }

  async #lines(): Promise<readonly { counts?: Counts; finished?: Finished }[]> {
    // It may not have been started yet.
    const text = await this.#release.kubectl(["logs", this.#name]).catch(() => "");
    const whole = text.slice(0, text.lastIndexOf("\n") + 1).split("\n");
    return whole.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line) as object);
  }
}

const AFTER_S = 5;
/** All of it fits on two cores: what is asked for is not what is used. */
const SMALL = { resources: { requests: { cpu: "20m", memory: "128Mi" } } };

function imageValues(name: string): { repository: string; tag: string } {
  const at = name.lastIndexOf(":");
  if (at < 0) throw new Error(`Cannot use image ${name}: it has no tag`);
  return { repository: name.slice(0, at), tag: name.slice(at + 1) };
}

/** As hardened as our own. */
function loadPod({ name, args, keys }: { name: string; args: readonly string[]; keys: string }) {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name },
    spec: {
      restartPolicy: "Never",
      automountServiceAccountToken: false,
      securityContext: {
        runAsNonRoot: true,
        runAsUser: 1000,
        fsGroup: 1000,
        seccompProfile: { type: "RuntimeDefault" },
      },
      containers: [
        {
          name: "load",
          image,
          imagePullPolicy: "IfNotPresent",
          command: ["node", "/load/load.mts", ...args],
          securityContext: {
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ["ALL"] },
          },
          volumeMounts: [
            { name: "load", mountPath: "/load", readOnly: true },
            { name: "keys", mountPath: "/run/keys", readOnly: true },
          ],
        },
      ],
      volumes: [
        { name: "load", configMap: { name } },
        { name: "keys", secret: { secretName: keys } },
      ],
    },
  };
}

export async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + WAIT_MS;
  while (performance.now() < deadline) {
    if (await isSo()) return;
    await sleep(500);
  }
  throw new Error(`In ${WAIT_MS} ms it did not happen that ${what}`);
}
