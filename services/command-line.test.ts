import { readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { runAdminCommand } from "#admin/cli.ts";
import { readCommandLine } from "#command-line.ts";

function read(argv: readonly string[], environment: Record<string, string> = {}) {
  return readCommandLine(argv, environment, "1.2.3");
}

function settingsOf(argv: readonly string[], environment: Record<string, string> = {}) {
  const commandLine = read(argv, environment);
  if (commandLine.kind !== "serve") throw new Error(commandLine.text);
  return commandLine.settings;
}

const KEYS = { ANYBUCKET_ACCESS_KEY: "user", ANYBUCKET_SECRET_KEY: "long enough" };

describe("where settings come from", () => {
  test("flags win over the environment, and our names over those of others", () => {
    const environment = {
      ANYBUCKET_REGION: "eu-west-1",
      MINIO_REGION: "eu-west-2",
      MINIO_ADDRESS: ":9100",
      ANYBUCKET_DRAIN: "5s",
    };
    const settings = settingsOf(["--drain", "7s"], environment);
    expect(settings).toMatchObject({ region: "eu-west-1", address: ":9100", drain: 7000 });
  });

  test("an empty variable is as good as none, which is how templates leave a setting out", () => {
    const environment = { ANYBUCKET_REGION: "", ANYBUCKET_ACCESS_LOG: "", ANYBUCKET_DATA: "" };
    const settings = settingsOf([], environment);
    expect(settings).toMatchObject({ region: undefined, accessLog: true, folders: ["./data"] });
  });

  test("the keys of a server win over those that a shell has for its clients", () => {
    const environment = {
      AWS_ACCESS_KEY_ID: "of-the-shell",
      AWS_SECRET_ACCESS_KEY: "secret of the shell",
      MINIO_ROOT_USER: "of-the-server",
      MINIO_ROOT_PASSWORD: "secret of the server",
    };
    expect(settingsOf([], environment)).toMatchObject({
      accessKey: "of-the-server",
      secretKey: "secret of the server",
    });
  });

  test("MinIO's spelling of many folders is known in its variable too", () => {
    const { folders } = settingsOf([], { MINIO_VOLUMES: "/mnt/disk{08...10}/data" });
    expect(folders).toEqual(["/mnt/disk08/data", "/mnt/disk09/data", "/mnt/disk10/data"]);
  });

  test("MinIO's command line means the same here", () => {
    const argv = ["server", "/data{1...3}", "--address", ":9100", "--console-address", ":9101"];
    expect(settingsOf([...argv, "--quiet"])).toMatchObject({
      folders: ["/data1", "/data2", "/data3"],
      address: ":9100",
      adminAddress: ":9101",
    });
  });
});

describe("the roles of a cluster", () => {
  const etcd = { ANYBUCKET_ETCD: "http://a:2379,b:2379" };

  test.each(["gateway", "storage", "keeper"])("the first word is a role: %s", (role) => {
    const commandLine = read([role, "/a", "/b"], { ...etcd, ...KEYS });
    expect(commandLine).toMatchObject({
      kind: "serve",
      role,
      settings: { folders: ["/a", "/b"], cluster: { etcd: ["http://a:2379", "b:2379"] } },
    });
  });

  test("a folder of such a name is one with its path", () => {
    expect(read(["./gateway"])).toMatchObject({
      kind: "serve",
      role: "all",
      settings: { folders: ["./gateway"] },
    });
  });

  test.each<[name: string, argv: string[], environment: Record<string, string>, line: RegExp]>([
    ["one machine with an etcd", [], etcd, /^ANYBUCKET_ETCD is set, and one machine by itself/],
    ["a role without one", ["keeper"], {}, /^ANYBUCKET_ETCD is not set: role keeper needs/],
    [
      "an etcd without room",
      ["keeper"],
      { ...etcd, ANYBUCKET_ETCD_QUOTA: "0" },
      /^ANYBUCKET_ETCD_QUOTA is 0/,
    ],
    [
      "a gateway without keys: none are made up",
      ["gateway"],
      etcd,
      /^ANYBUCKET_ACCESS_KEY and ANYBUCKET_SECRET_KEY are not set: all gateways/,
    ],
    [
      "a storage node that serves S3 without keys",
      ["storage", "--gateway"],
      etcd,
      /^ANYBUCKET_ACCESS_KEY and ANYBUCKET_SECRET_KEY are not set/,
    ],
    [
      "a certificate without the authority's",
      ["keeper"],
      { ...etcd, ANYBUCKET_CLUSTER_CERT_FILE: "x", ANYBUCKET_CLUSTER_KEY_FILE: "y" },
      /^ANYBUCKET_CLUSTER_CERT_FILE is set without ANYBUCKET_CLUSTER_CA_FILE/,
    ],
    [
      "a short token, which is not shown",
      ["keeper"],
      { ...etcd, ANYBUCKET_ADMIN_TOKEN: "short" },
      /^ANYBUCKET_ADMIN_TOKEN=\*\*\*: must have at least 16 characters$/,
    ],
    [
      "a node's name that no key can carry",
      ["storage"],
      { ...etcd, ANYBUCKET_NODE: "a/b" },
      /^ANYBUCKET_NODE=a\/b: must be up to 63/,
    ],
  ])("%s is refused", (_, argv, environment, line) => {
    const commandLine = read(argv, environment);
    expect(commandLine).toMatchObject({ kind: "print", exitCode: 78 });
    const text = commandLine.kind === "print" ? commandLine.text : "";
    expect(text).toMatch(/^anybucket: [^\n]+\n$/);
    expect(text.slice("anybucket: ".length).trimEnd()).toMatch(line);
  });
});

describe("what is refused, each in one line", () => {
  test.each<[name: string, argv: string[], environment: Record<string, string>, line: RegExp]>([
    [
      "a variable that is not a setting",
      [],
      { ANYBUCKET_ADRESS: ":1" },
      /^ANYBUCKET_ADRESS is not a setting; did you mean ANYBUCKET_ADDRESS\?$/,
    ],
    [
      "a file for what is no secret",
      [],
      { ANYBUCKET_REGION_FILE: "x" },
      /^ANYBUCKET_REGION_FILE is not a setting/,
    ],
    [
      "a file that is not there",
      [],
      { ANYBUCKET_SECRET_KEY_FILE: "/nowhere" },
      /^ANYBUCKET_SECRET_KEY_FILE=\/nowhere: ENOENT/,
    ],
    [
      "an address without a port",
      ["--address", "localhost"],
      {},
      /^--address=localhost: must be an address such as :9000/,
    ],
    ["one address for both", ["--admin-address", ":9000"], {}, /both :9000/],
    [
      "a key without its secret",
      [],
      { MINIO_ROOT_USER: "user" },
      /^MINIO_ROOT_USER is set without ANYBUCKET_SECRET_KEY/,
    ],
    [
      "a secret without its key",
      [],
      { ANYBUCKET_SECRET_KEY: "long enough" },
      /^ANYBUCKET_SECRET_KEY is set without ANYBUCKET_ACCESS_KEY/,
    ],
    [
      "a short secret, which is not shown",
      [],
      { ...KEYS, ANYBUCKET_SECRET_KEY: "short" },
      /^ANYBUCKET_SECRET_KEY=\*\*\*: must have at least 8 characters$/,
    ],
    [
      "an access key that no signature can carry",
      [],
      { ...KEYS, ANYBUCKET_ACCESS_KEY: "a/b" },
      /^ANYBUCKET_ACCESS_KEY=a\/b: must be 3 to 128/,
    ],
    [
      "a certificate without its key",
      ["--tls-cert-file", "x"],
      {},
      /^--tls-cert-file is set without ANYBUCKET_TLS_KEY_FILE/,
    ],
    [
      "a replaced folder that is none of the data",
      ["/a", "--replace", "/b"],
      {},
      /^ANYBUCKET_REPLACE names \/b/,
    ],
    [
      "another machine's folder",
      ["server", "http://node{1...4}/data"],
      {},
      /^--data=http.*is another machine's/,
    ],
    ["a duration without sense", ["--drain", "soon"], {}, /^--drain=soon: must be a duration/],
    [
      "too many processes",
      ["--workers", "0"],
      {},
      /^--workers=0: must be a whole number from 1 to 256$/,
    ],
  ])("%s", (_, argv, environment, line) => {
    const commandLine = read(argv, environment);
    expect(commandLine).toMatchObject({ kind: "print", exitCode: 78 });
    const text = commandLine.kind === "print" ? commandLine.text : "";
    expect(text).toMatch(/^anybucket: [^\n]+\n$/);
    expect(text.slice("anybucket: ".length).trimEnd()).toMatch(line);
  });

  test.each<[argv: string[], line: string]>([
    [["--adress", ":1"], "--adress is not a setting; did you mean --address?"],
    [["--secret-key"], "option '--secret-key <value>' argument missing"],
  ])("wrong use: %j", (argv, line) => {
    expect(read(argv)).toEqual({ kind: "print", text: `anybucket: ${line}\n`, exitCode: 2 });
  });

  test("all faults are told at once", () => {
    const commandLine = read(["--drain", "soon"], { ANYBUCKET_X: "1", ANYBUCKET_WORKERS: "many" });
    expect(commandLine.kind === "print" && commandLine.text.match(/^anybucket: /gm)).toHaveLength(
      3,
    );
  });
});

describe("what is shown", () => {
  test("--print-config has every setting, says where each came from, and hides secrets", () => {
    const environment = { MINIO_ROOT_USER: "user", MINIO_ROOT_PASSWORD: "not to be seen" };
    const commandLine = read(["/a", "/b", "--print-config"], environment);
    if (commandLine.kind !== "print") throw new Error("It was to print");
    expect(commandLine.exitCode).toBe(0);
    const lines = commandLine.text.trimEnd().split("\n");
    expect(lines).toContain("ANYBUCKET_DATA=/a,/b  # from --data");
    expect(lines).toContain("ANYBUCKET_ACCESS_KEY=user  # from MINIO_ROOT_USER");
    expect(lines).toContain("ANYBUCKET_SECRET_KEY=***  # from MINIO_ROOT_PASSWORD");
    expect(lines).toContain("ANYBUCKET_ADDRESS=:9000  # default");
    expect(commandLine.text).not.toContain("not to be seen");
  });

  test("README names no setting and no flag that there is not", async () => {
    const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");
    const help = read(["--help"]);
    if (help.kind !== "print") throw new Error("It was to print");
    const names = readme.matchAll(/ANYBUCKET_\w+|(?<=npm start -- .*|`)--[a-z][a-z-]+/g);
    const verbs = [
      ...["list", "add", "drain", "remove"].map((verb) => ["node", verb]),
      ...["status", "disarm", "arm", "confirm"].map((verb) => ["garbage", verb]),
    ].map(async (words) => {
      const { out } = await runAdminCommand({ argv: [...words, "--help"], environment: {} });
      return out;
    });
    const helps = [help.text, ...(await Promise.all(verbs))].join("");
    const known = new Set(helps.match(/ANYBUCKET_\w+|--[a-z][a-z-]+/g));
    // Helm's own.
    known.add("--set");
    const named = [...new Set([...names].map(([name]) => name))];
    expect(named.length).toBeGreaterThan(10);
    expect(named.filter((name) => !known.has(name))).toEqual([]);
  });

  test("--help has every setting, as flag and as variable", () => {
    const printed = read(["--print-config"]);
    const help = read(["--help"]);
    if (printed.kind !== "print" || help.kind !== "print") throw new Error("They were to print");
    const variables = [...printed.text.matchAll(/^(ANYBUCKET_\w+)=/gm)].map(
      ([, name = ""]) => name,
    );
    expect(variables.length).toBeGreaterThan(20);
    for (const variable of variables) {
      const flag = variable.replace("ANYBUCKET_", "--").toLowerCase().replaceAll("_", "-");
      expect(help.text).toContain(` ${flag} `);
      expect(help.text).toMatch(new RegExp(`^  ${variable}\\b`, "m"));
    }
    expect(help.exitCode).toBe(0);
  });
});
