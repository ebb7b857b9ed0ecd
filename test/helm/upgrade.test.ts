/** What the chart makes once, and keeps: an upgrade finds it in the cluster. */
import { X509Certificate } from "node:crypto";
import { describe, expect, test } from "vitest";
import { roleNamesOf } from "#shards/role-names.ts";
import { isInstalled } from "../clients/programs.ts";
import { type Resource, render, renderUpgrade } from "./helm.ts";

type Data = Readonly<Record<string, string>>;

const CA = "store-anybucket-cluster-ca";
const STORAGE = "store-anybucket-cluster-storage";
const GATEWAY = "store-anybucket-cluster-gateway";

describe.skipIf(!isInstalled("helm"))("an upgrade", () => {
  test("keeps all keys and certificates", async () => {
    const installed = await render({});
    const before = secretsIn(installed);
    expect(Object.keys(before).length).toBe(6);
    expect(secretsIn(await renderUpgrade({}, installed))).toEqual(before);
    // That nothing is kept without asking the cluster is what the test stands on.
    expect(secretsIn(await renderUpgrade({}, []))[CA]).not.toEqual(before[CA]);
  });

  test("to more storage nodes has their certificate signed again by the same authority, and no other", async () => {
    const installed = await render({});
    const before = secretsIn(installed);
    const after = secretsIn(await renderUpgrade({ storage: { replicas: 4 } }, installed));
    expect({ ...after, [STORAGE]: before[STORAGE] }).toEqual(before);
    const certificate = certificateIn(after, STORAGE, "tls.crt");
    expect(roleNamesOf(certificate).map(({ name }) => name)).toEqual(
      [0, 1, 2, 3].map((at) => `store-anybucket-storage-${at}`),
    );
    expect(certificate.verify(certificateIn(before, CA, "tls.crt").publicKey)).toBe(true);
  });

  test("after a role's Secret was deleted has the same authority make another", async () => {
    const installed = await render({});
    const before = secretsIn(installed);
    const after = secretsIn(await renderUpgrade({}, without(installed, GATEWAY)));
    expect({ ...after, [GATEWAY]: before[GATEWAY] }).toEqual(before);
    expect(after[GATEWAY]).not.toEqual(before[GATEWAY]);
    const authority = certificateIn(before, CA, "tls.crt");
    expect(certificateIn(after, GATEWAY, "tls.crt").verify(authority.publicKey)).toBe(true);
  });

  test("after the authority was deleted trusts a new one everywhere", async () => {
    const installed = await render({});
    const before = secretsIn(installed);
    const after = secretsIn(await renderUpgrade({}, without(installed, CA)));
    const authority = certificateIn(after, CA, "tls.crt");
    for (const role of ["gateway", "storage", "keeper"]) {
      const name = `store-anybucket-cluster-${role}`;
      expect(certificateIn(after, name, "tls.crt").verify(authority.publicKey)).toBe(true);
      expect(certificateIn(after, name, "ca.crt").raw).toEqual(authority.raw);
      expect(after[name]).not.toEqual(before[name]);
    }
  });

  test("under another clusterName has certificates that say so", async () => {
    const after = secretsIn(await renderUpgrade({ clusterName: "other" }, await render({})));
    expect(roleNamesOf(certificateIn(after, GATEWAY, "tls.crt"))).toEqual([
      { cluster: "other", role: "gateway", name: "store-anybucket-gateway" },
    ]);
  });
});

function secretsIn(rendered: readonly Resource[]): Readonly<Record<string, Data>> {
  const secrets = rendered.filter(({ kind }) => kind === "Secret");
  return Object.fromEntries(
    secrets.map(({ metadata, ...secret }) => [metadata.name, secret["data"] as Data]),
  );
}

function certificateIn(
  secrets: Readonly<Record<string, Data>>,
  name: string,
  file: string,
): X509Certificate {
  return new X509Certificate(Buffer.from(secrets[name]?.[file] ?? "", "base64"));
}

function without(rendered: readonly Resource[], name: string): readonly Resource[] {
  return rendered.filter(({ metadata }) => metadata.name !== name);
}
