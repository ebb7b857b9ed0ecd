/** `anybucket garbage status|disarm|arm|confirm`: whether a cluster may remove what nothing names. */
import { type Noun, type NounFrame, printed, type Where } from "#admin/cli-noun.ts";
import type { GarbageAction, GarbageView } from "#admin/node-api.ts";

export const GARBAGE_NOUN: Noun = {
  description: "Garbage collection, which removes shards that nothing in the index names.",
  addTo,
};

function addTo({ verb, client, say }: NounFrame): void {
  const tell = (view: GarbageView, { json }: Where) => say(json ? printed(view) : viewText(view));
  const change = (action: GarbageAction, description: string) =>
    verb(action, description).action(async (options: Where & { reason?: string }) => {
      const { reason } = options;
      const api = await client(options);
      tell(await api.changeGarbage(action, reason === undefined ? {} : { reason }), options);
    });
  verb("status", "whether it may act, and what it asks").action(async (options: Where) => {
    tell(await (await client(options)).garbage(), options);
  });
  change(
    "disarm",
    "remove nothing: when etcd was restored from a copy, before a keeper is started",
  ).option("--reason <text>", "what others are told");
  change("arm", "it may remove again what nothing names");
  change("confirm", "it may remove what it asks about");
}

function viewText({ state, reason, question }: GarbageView): string {
  switch (state) {
    case "armed":
      return "armed: what nothing names is removed\n";
    case "disarmed":
      return `disarmed: ${reason}\n`;
    case "confirmed":
      return `confirmed: the next sweep removes ${amountOf(question)}\n`;
    case "asking":
      return `asking since ${new Date(question?.askedMs ?? 0).toISOString()}: ${question?.text}
It would remove ${amountOf(question)}, such as
${(question?.examples ?? []).map((name) => `  ${JSON.stringify(name)}\n`).join("")}If that is right: anybucket garbage confirm. If the index is not: anybucket garbage disarm.
`;
  }
}

function amountOf(question: GarbageView["question"]): string {
  return `${question?.doomed} of ${question?.writes} writes (${question?.shards} shards)`;
}
