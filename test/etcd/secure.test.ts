/** An etcd that asks for certificates, users and passwords. */
import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Renewable } from "#lib/renewable.ts";
import type { EtcdTls } from "#metadata/etcd-member.ts";
import { EtcdProcesses, hasEtcd } from "#metadata/testing/etcd-process.ts";
import { isInstalled } from "../clients/programs.ts";
import { key, put, text } from "./support.ts";

describe.skipIf(!hasEtcd || !isInstalled("openssl"))("an etcd with certificates", () => {
  let folder: string;
  let etcd: EtcdProcesses;
  let pem: (name: string) => Promise<Buffer>;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "anybucket-etcd-tls-"));
    pem = (name) => readFile(join(folder, name));
    await makeCertificates(folder);
    const [ca, certificate, key_] = ["ca.crt", "server.crt", "server.key"].map((name) =>
      join(folder, name),
    );
    const tls = { ca: ca ?? "", certificate: certificate ?? "", key: key_ ?? "" };
    etcd = await EtcdProcesses.start({ tls });
  });
  afterAll(async () => {
    await etcd[Symbol.asyncDispose]();
    await rm(folder, { recursive: true });
  });

  const withCertificate = async (): Promise<EtcdTls> => ({
    ca: await pem("ca.crt"),
    certificate: await pem("client.crt"),
    key: await pem("client.key"),
  });

  test("lets in who shows one of its authority, and nobody else", async () => {
    await using store = await etcd.open({ tls: new Renewable(await withCertificate()) });
    await put(store, "a", "1");
    expect(text(await store.get(key("a")))).toBe("1");
    const ca = await pem("ca.crt");
    const stranger = { certificate: await pem("stranger.crt"), key: await pem("stranger.key") };
    await Promise.all(
      [{ ca }, { ca, ...stranger }].map((tls) =>
        expect(etcd.open({ tls: new Renewable<EtcdTls>(tls) })).rejects.toThrow("Cannot use"),
      ),
    );
  });

  test("goes on with a client whose certificate is renewed, and is shown the new one by connections made after it", async () => {
    const tls = new Renewable(await withCertificate());
    await using store = await etcd.open({ tls });
    await put(store, "a", "1");
    const stop = new AbortController();
    const events = store.watch(key("w"), stop.signal)[Symbol.asyncIterator]();
    const first = events.next();
    await put(store, "w1", "1");
    expect((await first).value).toMatchObject({ kind: "put" });

    // One that etcd does not take: it shows which connections have it.
    const stranger = { certificate: await pem("stranger.crt"), key: await pem("stranger.key") };
    tls.renew({ ca: await pem("ca.crt"), ...stranger });
    await put(store, "w2", "1");
    expect((await events.next()).value).toMatchObject({ kind: "put" });
    await expect(store.session()).rejects.toThrow("Cannot open a session");
    // No reset, as there would be for a stream that was cut.
    await put(store, "w3", "1");
    expect((await events.next()).value).toMatchObject({ kind: "put" });
    stop.abort();
    await etcd.kill(0);
    await etcd.startMember(0);
    await expect(store.get(key("a"))).rejects.toThrow("Cannot read from etcd");

    tls.renew(await withCertificate());
    expect(text(await store.get(key("a")))).toBe("1");
    await using session = await store.session();
    await session.renew();
  });

  test("is not believed when its own certificate is of another authority, which is said", async () => {
    const tls = { ...(await withCertificate()), ca: await pem("stranger.crt") };
    const opened = etcd.open({ tls: new Renewable(tls) });
    await expect(opened).rejects.toThrow("Cannot use");
    await expect(opened).rejects.toHaveProperty(
      "cause.message",
      expect.stringMatching("certificate"),
    );
  });

  test("is not spoken to in plain text when there are certificates for it", async () => {
    const endpoints = etcd.endpoints.map((endpoint) => endpoint.replace("https", "http"));
    const opened = etcd.open({ endpoints, tls: new Renewable(await withCertificate()) });
    await expect(opened).rejects.toThrow("not https");
  });

  test("is asked for by name, as addresses cannot be checked", async () => {
    const endpoints = etcd.endpoints.map((endpoint) => endpoint.replace("localhost", "127.0.0.1"));
    const opened = etcd.open({ endpoints, tls: new Renewable(await withCertificate()) });
    await expect(opened).rejects.toThrow("host name");
  });
});

describe.skipIf(!hasEtcd)("an etcd with users", () => {
  let etcd: EtcdProcesses;
  const user = { name: "anybucket", password: "correct horse" };
  beforeAll(async () => {
    etcd = await EtcdProcesses.start();
    etcd.control("user", "add", "root:root password");
    etcd.control("user", "grant-role", "root", "root");
    etcd.control("role", "add", "index");
    etcd.control("role", "grant-permission", "--prefix=true", "index", "readwrite", "anybucket/");
    etcd.control("user", "add", `${user.name}:${user.password}`);
    etcd.control("user", "grant-role", user.name, "index");
    etcd.control("auth", "enable");
  });
  afterAll(() => etcd[Symbol.asyncDispose]());

  test("serves a user who may use the keys behind one prefix, sessions and compaction included", async () => {
    await using store = await etcd.open({ user });
    await using session = await store.session();
    const revision = await put(store, "a", "1");
    await session.renew();
    await store.compact(revision);
    const stop = new AbortController();
    const events = store.watch(key("w"), stop.signal)[Symbol.asyncIterator]();
    await put(store, "w", "1");
    expect((await events.next()).value).toMatchObject({ kind: "put" });
    stop.abort();
  });

  test("refuses a wrong password, nobody, and keys of others", async () => {
    const wrong = { ...user, password: "wrong" };
    await Promise.all(
      [{ user: wrong }, {}, { user, namespace: "other/" }].map((options) =>
        expect(etcd.open(options)).rejects.toThrow("Cannot use etcd"),
      ),
    );
  });

  test("that has forgotten its tokens, or changed its users, is given the password again", async () => {
    await using store = await etcd.open({ user });
    await put(store, "a", "1");
    await etcd.kill(0);
    await etcd.startMember(0);
    await put(store, "a", "2");
    etcd.control("--user", "root:root password", "user", "add", "other:other");
    await put(store, "a", "3");
    expect(text(await store.get(key("a")))).toBe("3");
  });
});

async function makeCertificates(folder: string): Promise<void> {
  const openssl = (...parameters: string[]) => {
    const { status, stderr } = spawnSync("openssl", parameters, { cwd: folder, encoding: "utf8" });
    if (status !== 0) throw new Error(`openssl ${parameters[0]}: ${stderr}`);
  };
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  for (const name of ["ca", "stranger"]) {
    const files = ["-keyout", `${name}.key`, "-out", `${name}.crt`];
    openssl("req", "-x509", ...curve, "-subj", `/CN=${name}`, "-days", "2", ...files);
  }
  for (const name of ["server", "client"]) {
    openssl("req", ...curve, "-subj", `/CN=${name}`, "-keyout", `${name}.key`, "-out", "request");
    await writeFile(
      join(folder, "extensions"),
      "subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n",
    );
    const signed = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"];
    const files = ["-in", "request", "-out", `${name}.crt`, "-extfile", "extensions"];
    openssl("x509", "-req", ...files, ...signed);
  }
}
