/**
 * The images of `npm run test:kubernetes`, made on this machine and written to a file for a cluster without a registry:
 *
 *     node test/kubernetes/images.ts images.tar
 */
import { parseArgs } from "node:util";
import { docker, startDaemon } from "../support/docker.ts";
import { buildImages } from "../support/images.ts";

const [file] = parseArgs({ allowPositionals: true }).positionals;
if (file === undefined) throw new Error("Cannot write the images: name a file");
const end = await startDaemon();
if (end === undefined) throw new Error("Cannot make images: there is no Docker here");
try {
  const { anybucket, etcd } = await buildImages();
  const names = {
    [anybucket]: "anybucket-test/anybucket:kubernetes",
    [etcd]: "anybucket-test/etcd:kubernetes",
  };
  for (const [made, name] of Object.entries(names)) await docker("tag", made, name);
  await docker("save", `--output=${file}`, ...Object.values(names));
} finally {
  await end();
}
