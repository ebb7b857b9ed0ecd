/** The admin API over HTTP: JSON, one version, nothing without the operator's token. */
import { hash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { type GarbageAdmin, GarbageRefused } from "#admin/garbage-admin.ts";
import type { NodeAdmin } from "#admin/node-admin.ts";
import {
  API_ROOT,
  GARBAGE_ACTIONS,
  type GarbageAction,
  NODE_ACTIONS,
  type NodeAction,
  type NodeChange,
} from "#admin/node-api.ts";
import type { Logger } from "#lib/log.ts";
import { NodeRefused } from "#placement/nodes.ts";

const BODY_BYTES_MAX = 64 * 1024;
const ANSWER_MS = 30_000;
/** It is shown in one line. */
const REASON_CHARACTERS_MAX = 500;

export interface ApiAnswer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

export interface ApiParts {
  readonly nodes: NodeAdmin;
  readonly garbage: GarbageAdmin;
  /** undefined: nobody may ask anything. */
  readonly token: string | undefined;
  readonly log: Logger;
}

/** undefined: the path is none of the API's. */
export function answerApi(
  parts: ApiParts,
  request: IncomingMessage,
): Promise<ApiAnswer> | undefined {
  const [path = ""] = (request.url ?? "").split("?");
  if (!path.startsWith(`${API_ROOT}/`)) return undefined;
  return answer(parts, request, path.slice(API_ROOT.length + 1));
}

async function answer(
  { nodes, garbage, token, log }: ApiParts,
  request: IncomingMessage,
  path: string,
): Promise<ApiAnswer> {
  if (token === undefined) {
    return refusal(403, "Cannot answer: this process was started without ANYBUCKET_ADMIN_TOKEN");
  }
  if (!isBearer(request, token))
    return refusal(401, "Cannot answer: the token is missing or wrong");
  const { method = "GET" } = request;
  try {
    const signal = AbortSignal.timeout(ANSWER_MS);
    if (path === "nodes") {
      return method === "GET" ? json(200, await nodes.list(signal)) : refusal(405, "GET only");
    }
    if (path === "garbage") {
      return method === "GET" ? json(200, await garbage.view(signal)) : refusal(405, "GET only");
    }
    const told = GARBAGE_ACTIONS.find((one) => path === `garbage/${one}`);
    if (told !== undefined) {
      if (method !== "POST") return refusal(405, "POST only");
      return await changeGarbage({ garbage, log }, { action: told, request, signal });
    }
    const [noun, id, verb] = path.split("/").map(decodeURIComponent);
    const action = NODE_ACTIONS.find((one) => one === verb);
    if (noun !== "nodes" || id === undefined || action === undefined) {
      return refusal(404, `Cannot answer: there is no ${API_ROOT}/${path}`);
    }
    if (method !== "POST") return refusal(405, "POST only");
    return await change({ nodes, log }, { id, action, request, signal });
  } catch (error) {
    if (error instanceof NodeRefused || error instanceof GarbageRefused)
      return refusal(409, error.message);
    if (error instanceof BadRequest || error instanceof URIError)
      return refusal(400, error.message);
    log.error({ err: error }, "The admin API failed");
    return refusal(500, (error as Error).message);
  }
}

async function change(
  { nodes, log }: Pick<ApiParts, "nodes" | "log">,
  {
    id,
    action,
    request,
    signal,
  }: { id: string; action: NodeAction; request: IncomingMessage; signal: AbortSignal },
): Promise<ApiAnswer> {
  const wanted = parseChange(await readBody(request));
  const changed = await nodes.change(id, action, wanted, signal);
  if (wanted.dryRun !== true) {
    const { remoteAddress: remote } = request.socket;
    log.info({ node: id, action, ...wanted, state: changed.state, remote }, "node changed");
  }
  return json(200, changed);
}

async function changeGarbage(
  { garbage, log }: Pick<ApiParts, "garbage" | "log">,
  {
    action,
    request,
    signal,
  }: { action: GarbageAction; request: IncomingMessage; signal: AbortSignal },
): Promise<ApiAnswer> {
  const reason = parseReason(await readBody(request));
  const view = await garbage.change(action, reason, signal);
  const { remoteAddress: remote } = request.socket;
  log.info({ action, reason, question: view.question, remote }, "garbage collection was told");
  return json(200, view);
}

class BadRequest extends Error {}

async function readBody(request: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of request as AsyncIterable<Buffer>) {
    length += piece.length;
    if (length > BODY_BYTES_MAX) throw new BadRequest(`The body is over ${BODY_BYTES_MAX} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString("utf8");
}

const FLAGS = ["dryRun", "cancel", "lost"] as const;

function parseChange(text: string): NodeChange {
  const value = parseObject(text);
  for (const [name, flag] of Object.entries(value)) {
    if (FLAGS.some((known) => known === name) && typeof flag === "boolean") continue;
    throw new BadRequest(`${name} is not one of ${FLAGS.join(", ")}, true or false`);
  }
  return value;
}

function parseReason(text: string): string {
  const { reason = "", ...others } = parseObject(text) as { reason?: unknown };
  const isGood = typeof reason === "string" && /^[^\p{Cc}]*$/u.test(reason);
  if (!isGood || reason.length > REASON_CHARACTERS_MAX) {
    throw new BadRequest(`reason is not one line of ${REASON_CHARACTERS_MAX} characters or less`);
  }
  const [other] = Object.keys(others);
  if (other !== undefined) throw new BadRequest(`${other} is not reason`);
  return reason || "an operator said so";
}

function parseObject(text: string): object {
  let value: unknown = {};
  try {
    if (text !== "") value = JSON.parse(text);
  } catch {
    throw new BadRequest("The body is not JSON");
  }
  if (typeof value !== "object" || value === null) throw new BadRequest("The body is no object");
  return value;
}

/** In constant time, whatever the length. */
function isBearer({ headers }: IncomingMessage, token: string): boolean {
  const shown = /^Bearer (.+)$/i.exec(headers.authorization ?? "")?.[1] ?? "";
  return timingSafeEqual(hash("sha256", shown, "buffer"), hash("sha256", token, "buffer"));
}

function refusal(status: number, error: string): ApiAnswer {
  return json(status, { error });
}

function json(status: number, value: unknown): ApiAnswer {
  return { status, type: "application/json", body: `${JSON.stringify(value, null, 2)}\n` };
}
