/** The body of an object or part on its way in: no longer than S3 allows. */
import type { S3Request } from "#gateway/context.ts";
import { S3Error } from "#gateway/errors.ts";
import type { BodyDigests, ChecksumAlgorithm, ObjectBody } from "#objects/model.ts";

/** https://docs.aws.amazon.com/AmazonS3/latest/userguide/upload-objects.html */
export const UPLOAD_BYTES_MAX = 5 * 1024 ** 3;

/** The request's body as an object's; `checksum` is computed when the client sent none. */
export function uploadBody(request: S3Request, checksum: ChecksumAlgorithm): ObjectBody {
  const body = request.body.object({ checksum });
  if (body.size === undefined) return new BoundedBody(body, UPLOAD_BYTES_MAX);
  if (body.size > UPLOAD_BYTES_MAX) throw tooLarge(body.size, UPLOAD_BYTES_MAX);
  return body;
}

/** A body that did not announce its size, cut short by an error where it becomes too long. */
export class BoundedBody implements ObjectBody {
  readonly size = undefined;
  readonly #body: ObjectBody;
  readonly #bytesMax: number;

  constructor(body: ObjectBody, bytesMax: number) {
    this.#body = body;
    this.#bytesMax = bytesMax;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    let bytes = 0;
    for await (const piece of this.#body) {
      bytes += piece.length;
      if (bytes > this.#bytesMax) throw tooLarge(bytes, this.#bytesMax);
      yield piece;
    }
  }

  digests(): BodyDigests {
    return this.#body.digests();
  }
}

function tooLarge(bytes: number, bytesMax: number): S3Error {
  return new S3Error("EntityTooLarge", {
    elements: { ProposedSize: String(bytes), MaxSizeAllowed: String(bytesMax) },
  });
}
