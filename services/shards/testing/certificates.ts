/** Certificates of a test's cluster, made by openssl when the test runs. */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { ClusterTls } from "#shards/cluster-tls.ts";

/** The cluster's name in certificates; its id is another. */
export const CERTIFIED = "the-name";

const run = promisify(execFile);

/** An authority of its own. */
export class Authority implements AsyncDisposable {
  readonly #folder: string;
  #made = 0;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async make(): Promise<Authority> {
    const authority = new Authority(await mkdtemp(join(tmpdir(), "anybucket-ca-")));
    await authority.#openssl(
      "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=authority -keyout ca.key -out ca.pem",
    );
    return authority;
  }

  /** `names`: subject alternative names, as `URI:…` or `DNS:…`. `days`: below 0 it has expired. */
  async issue(names: readonly string[], { days = 1 } = {}): Promise<ClusterTls> {
    const name = `c${this.#made++}`;
    // As a section, where a name may have a comma in it.
    const lines = names.map((one, at) => one.replace(":", `.${at}=`));
    const extension = ["subjectAltName=@names", "[names]", ...lines, ""].join("\n");
    await writeFile(join(this.#folder, `${name}.ext`), extension);
    await this.#openssl(
      `req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=${name} -keyout ${name}.key -out ${name}.csr`,
    );
    await this.#openssl(
      `x509 -req -in ${name}.csr -CA ca.pem -CAkey ca.key -set_serial ${this.#made} -days ${days} -extfile ${name}.ext -out ${name}.pem`,
    );
    const [ca, certificate, key] = await Promise.all(
      ["ca.pem", `${name}.pem`, `${name}.key`].map((file) => readFile(join(this.#folder, file))),
    );
    return { cluster: CERTIFIED, ca, certificate, key } as ClusterTls;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true });
  }

  async #openssl(words: string): Promise<void> {
    await run("openssl", words.split(" "), { cwd: this.#folder });
  }
}
