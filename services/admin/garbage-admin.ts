/** What an operator may ask of, and say to, garbage collection. All of it is in the index: the keeper may be any process. */
import type { GarbageAction, GarbageView } from "#admin/node-api.ts";
import {
  confirmGarbage,
  decodeGarbageQuestion,
  GARBAGE_QUESTION_KEY,
} from "#keeper/garbage-question.ts";
import { armGarbage, disarmedBecause, disarmGarbage } from "#keeper/identity.ts";
import type { MetadataStore } from "#metadata/metadata-store.ts";

export interface GarbageAdminParts {
  readonly metadata: MetadataStore;
  readonly clusterId: string;
  /** Called when there may be work to do again. */
  readonly onChange: () => void;
}

/** What was said does not fit what is so. */
export class GarbageRefused extends Error {
  override readonly name = "GarbageRefused";
}

export class GarbageAdmin {
  readonly #parts: GarbageAdminParts;

  constructor(parts: GarbageAdminParts) {
    this.#parts = parts;
  }

  async view(signal: AbortSignal): Promise<GarbageView> {
    const { metadata, clusterId } = this.#parts;
    const found = await metadata.get(GARBAGE_QUESTION_KEY, signal);
    const question = found && decodeGarbageQuestion(found.value);
    const reason = await disarmedBecause(metadata, clusterId, signal);
    if (reason !== undefined) return { state: "disarmed", reason, question };
    if (!question) return { state: "armed" };
    return { state: question.isConfirmed ? "confirmed" : "asking", question };
  }

  /** Throws GarbageRefused. */
  async change(action: GarbageAction, reason: string, signal: AbortSignal): Promise<GarbageView> {
    const { metadata, onChange } = this.#parts;
    switch (action) {
      case "disarm":
        await disarmGarbage(metadata, reason, signal);
        return this.view(signal);
      case "arm":
        await armGarbage(metadata, signal);
        break;
      case "confirm":
        await this.#confirm(signal);
    }
    onChange();
    return this.view(signal);
  }

  async #confirm(signal: AbortSignal): Promise<void> {
    const { state, reason } = await this.view(signal);
    if (state === "disarmed") throw new GarbageRefused(`Cannot confirm: disarmed: ${reason}`);
    if ((await confirmGarbage(this.#parts.metadata, signal)) === undefined) {
      throw new GarbageRefused("Cannot confirm: nothing is asked");
    }
  }
}
