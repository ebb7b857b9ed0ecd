/** A small S3 client for measuring and for tests under faults: keep-alive connections, signatures over precomputed hashes, no retries. */
import { createHash, createHmac } from "node:crypto";
import {
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
} from "node:http";

export interface Target {
  readonly endpoint: URL;
  readonly accessKey: string;
  readonly secretKey: string;
  readonly region: string;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly bytes: number;
  readonly body: Buffer | undefined;
}

export const EMPTY_SHA256 = createHash("sha256").digest("hex");

export class LoadClient {
  readonly #target: Target;
  readonly #agent: HttpAgent;
  #day = "";
  #key: Buffer = Buffer.alloc(0);

  constructor(target: Target, connections: number) {
    this.#target = target;
    this.#agent = new HttpAgent({ keepAlive: true, maxSockets: connections });
  }

  close(): void {
    this.#agent.destroy();
  }

  /** `path` is already encoded; `query` sorted and encoded. */
  async send(request: {
    method: string;
    path: string;
    query?: string;
    body?: Buffer;
    sha256?: string;
    headers?: Record<string, string>;
    keepBody?: boolean;
    signal?: AbortSignal;
  }): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const headers = this.#sign(request);
    const query = request.query === undefined ? "" : `?${request.query}`;
    const outgoing = httpRequest(
      {
        agent: this.#agent,
        host: this.#target.endpoint.hostname,
        port: this.#target.endpoint.port,
        method: request.method,
        path: `${request.path}${query}`,
        headers,
        ...(request.signal && { signal: request.signal }),
      },
      (incoming) => resolve(drain(incoming, request.keepBody === true)),
    );
    outgoing.on("error", reject);
    outgoing.end(request.body);
    return await promise;
  }

  #sign(request: Parameters<LoadClient["send"]>[0]): Record<string, string> {
    const now = new Date().toISOString().replaceAll(/[-:]|\.\d{3}/g, "");
    const day = now.slice(0, 8);
    const { region, secretKey, accessKey, endpoint } = this.#target;
    if (day !== this.#day) {
      this.#day = day;
      this.#key = [day, region, "s3", "aws4_request"].reduce(
        (key, part) => createHmac("sha256", key).update(part).digest(),
        Buffer.from(`AWS4${secretKey}`),
      );
    }
    const sha256 = request.sha256 ?? EMPTY_SHA256;
    const signed: Record<string, string> = {
      ...request.headers,
      host: endpoint.host,
      "x-amz-content-sha256": sha256,
      "x-amz-date": now,
    };
    const names = Object.keys(signed).toSorted();
    const canonical = [
      request.method,
      request.path,
      request.query ?? "",
      ...names.map((name) => `${name}:${signed[name]}`),
      "",
      names.join(";"),
      sha256,
    ].join("\n");
    const scope = `${day}/${region}/s3/aws4_request`;
    const hash = createHash("sha256").update(canonical).digest("hex");
    const signature = createHmac("sha256", this.#key)
      .update(`AWS4-HMAC-SHA256\n${now}\n${scope}\n${hash}`)
      .digest("hex");
    return {
      ...signed,
      "content-length": String(request.body?.length ?? 0),
      authorization: `AWS4-HMAC-SHA256 Credential=${accessKey}/${scope}, SignedHeaders=${names.join(";")}, Signature=${signature}`,
    };
  }
}

async function drain(incoming: IncomingMessage, keep: boolean): Promise<Answer> {
  let bytes = 0;
  const pieces: Buffer[] = [];
  for await (const piece of incoming as AsyncIterable<Buffer>) {
    bytes += piece.length;
    if (keep) pieces.push(piece);
  }
  return {
    status: incoming.statusCode ?? 0,
    headers: incoming.headers,
    bytes,
    body: keep ? Buffer.concat(pieces) : undefined,
  };
}
