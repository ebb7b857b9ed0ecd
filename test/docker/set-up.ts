/** Before the tests of this folder: Docker's daemon, and the images. */
import type { TestProject } from "vitest/node";
import { startDaemon } from "../support/docker.ts";
import { buildImages, type Images } from "../support/images.ts";

declare module "vitest" {
  export interface ProvidedContext {
    /** null: there is no Docker here, nor can it be started. */
    images: Images | null;
  }
}

export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const end = await startDaemon();
  project.provide("images", end === undefined ? null : await buildImages());
  return end ?? (async () => undefined);
}
