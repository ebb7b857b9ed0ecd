/** Buckets that the operator wants at the start. */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { GetBucketOwnershipControlsCommand, ListBucketsCommand } from "@aws-sdk/client-s3";
import { expect, test } from "vitest";
import { clientOf, faultOf, scratch, start } from "./process.ts";

const KEYS = { accessKeyId: "first-user", secretAccessKey: "first-user-secret" };
const GIVEN = {
  ANYBUCKET_ACCESS_KEY: KEYS.accessKeyId,
  ANYBUCKET_SECRET_KEY: KEYS.secretAccessKey,
};

test("buckets asked for at the start are the first user's, and are left alone by the next start", async () => {
  await using folder = await scratch();
  const options = {
    args: [join(folder.path, "data")],
    env: {
      ...GIVEN,
      ANYBUCKET_BUCKETS: "photos, backups",
      ANYBUCKET_DEFAULT_OWNERSHIP: "ObjectWriter",
    },
  };
  const first = await start(options);
  await using end = new AsyncDisposableStack();
  end.defer(() => first.kill());
  const made = (await clientOf(first, KEYS).send(new ListBucketsCommand())).Buckets;
  expect(made?.map(({ Name }) => Name)).toEqual(["backups", "photos"]);
  expect(first.stdout()).toContain("Buckets  photos backups");
  expect(await first.stop()).toBe(0);

  const again = await start({
    ...options,
    env: { ...options.env, ANYBUCKET_DEFAULT_OWNERSHIP: "BucketOwnerEnforced" },
  });
  end.defer(() => again.kill());
  const client = clientOf(again, KEYS);
  expect((await client.send(new ListBucketsCommand())).Buckets).toEqual(made);
  const controls = await client.send(new GetBucketOwnershipControlsCommand({ Bucket: "photos" }));
  expect(controls.OwnershipControls?.Rules).toEqual([{ ObjectOwnership: "ObjectWriter" }]);
  expect(await again.stop()).toBe(0);
});

test("a name that no bucket may have is refused before anything is touched", async () => {
  await using folder = await scratch();
  const { code, stderr } = await faultOf({
    args: [join(folder.path, "data")],
    env: { ANYBUCKET_BUCKETS: "photos,My_Photos" },
  });
  expect(code).toBe(78);
  expect(stderr).toMatch(
    /^anybucket: ANYBUCKET_BUCKETS=photos,My_Photos: "My_Photos" is not a bucket name: [^\n]+\n$/,
  );
  await expect(stat(join(folder.path, "data"))).rejects.toThrow("ENOENT");
});
