/**
 * Browser forms (multipart/form-data) as S3 takes them: fields first, then one file, which is never held in memory.
 * What follows the file is skipped, as S3 does.
 */
import { isUtf8 } from "node:buffer";
import type { ByteSource } from "#gateway/body-source.ts";
import { S3Error } from "#gateway/errors.ts";

export interface PostForm {
  /** Names in lower case, each once, without the file. */
  readonly fields: ReadonlyMap<string, string>;
  /** Without its folders; empty when the client gave none. */
  readonly fileName: string;
  readonly file: ByteSource;
}

/** S3's limit on all that precedes the file. */
const FIELDS_BYTES_MAX = 20 * 1024;
/** A form's buttons may follow its file, and not much else. */
const EPILOGUE_BYTES_MAX = 64 * 1024;

/** Reads up to the file's first byte. */
export async function openForm(
  source: ByteSource,
  contentType: string | undefined,
): Promise<PostForm> {
  const head = new FormHead(source, `--${boundaryOf(contentType ?? "")}`);
  const fields = new Map<string, string>();
  await head.begin();
  for (;;) {
    const { name, fileName } = parseDisposition(await head.partHeader());
    if (name.toLowerCase() === "file") {
      return { fields, fileName: baseName(fileName ?? ""), file: head.file() };
    }
    const field = name.toLowerCase();
    if (fields.has(field)) {
      throw new S3Error("InvalidArgument", {
        message: `POST requires each field at most once: ${field}.`,
        elements: { ArgumentName: field },
      });
    }
    fields.set(field, text(await head.value()));
  }
}

/** The part of a form that precedes the file's bytes: small, so it is gathered. */
class FormHead {
  readonly #source: ByteSource;
  readonly #delimiter: Buffer;
  #bytes: Buffer = Buffer.alloc(0);
  #position = 0;

  constructor(source: ByteSource, firstDelimiter: string) {
    this.#source = source;
    this.#delimiter = Buffer.from(`\r\n${firstDelimiter}`, "latin1");
  }

  /** Over the first delimiter, which may do without the line end before it. */
  async begin(): Promise<void> {
    const first = this.#delimiter.subarray(2);
    while (this.#bytes.length < this.#delimiter.length) await this.#more();
    const start = this.#bytes.subarray(0, first.length).equals(first) ? 0 : 2;
    this.#position = start + first.length;
    if (!this.#bytes.subarray(start, this.#position).equals(first)) throw malformed();
  }

  /** The header lines of the next part. */
  async partHeader(): Promise<string> {
    while (this.#bytes.length < this.#position + 2) await this.#more();
    const mark = this.#bytes.toString("latin1", this.#position, this.#position + 2);
    if (mark === "--") throw noFile();
    if (mark !== "\r\n") throw malformed();
    const end = await this.#find(Buffer.from("\r\n\r\n"));
    const header = text(this.#bytes.subarray(this.#position + 2, end));
    this.#position = end + 4;
    return header;
  }

  /** The bytes of a field. */
  async value(): Promise<Buffer> {
    const end = await this.#find(this.#delimiter);
    const value = this.#bytes.subarray(this.#position, end);
    this.#position = end + this.#delimiter.length;
    return value;
  }

  /** All that follows. */
  file(): ByteSource {
    const rest = this.#bytes.subarray(this.#position);
    return new FileSource({ source: this.#source, first: rest, delimiter: this.#delimiter });
  }

  async #find(pattern: Buffer): Promise<number> {
    let from = this.#position;
    for (;;) {
      const found = this.#bytes.indexOf(pattern, from);
      if (Math.max(found, this.#position) > FIELDS_BYTES_MAX) throw tooLarge();
      if (found !== -1) return found;
      if (this.#bytes.length > FIELDS_BYTES_MAX) throw tooLarge();
      from = Math.max(this.#position, this.#bytes.length - pattern.length + 1);
      await this.#more();
    }
  }

  async #more(): Promise<void> {
    const piece = await this.#source.next();
    if (!piece) throw malformed();
    this.#bytes = this.#bytes.length === 0 ? piece : Buffer.concat([this.#bytes, piece]);
  }
}

const CARRIAGE_RETURN = 0x0d;

/** The file's bytes up to the delimiter behind it, as slices of what arrives. */
class FileSource implements ByteSource {
  readonly #source: ByteSource;
  readonly #delimiter: Buffer;
  /** Bytes not yet judged: they may begin the delimiter. */
  #rest: Buffer;
  #hasEnded = false;

  constructor({
    source,
    first,
    delimiter,
  }: { source: ByteSource; first: Buffer; delimiter: Buffer }) {
    this.#source = source;
    this.#rest = first;
    this.#delimiter = delimiter;
  }

  async next(): Promise<Buffer | undefined> {
    while (!this.#hasEnded) {
      const bytes = this.#rest;
      const found = bytes.indexOf(this.#delimiter);
      if (found !== -1) {
        this.#hasEnded = true;
        await this.#skip(bytes.subarray(found + this.#delimiter.length));
        if (found > 0) return bytes.subarray(0, found);
        break;
      }
      const kept = this.#possibleStart(bytes);
      this.#rest = bytes.subarray(kept);
      if (kept > 0) return bytes.subarray(0, kept);
      const piece = await this.#source.next();
      if (!piece) throw malformed();
      this.#rest = this.#rest.length === 0 ? piece : Buffer.concat([this.#rest, piece]);
    }
    return undefined;
  }

  /** Where a delimiter may have begun that is cut off; the length when nowhere. */
  #possibleStart(bytes: Buffer): number {
    const from = Math.max(0, bytes.length - this.#delimiter.length + 1);
    for (
      let start = bytes.indexOf(CARRIAGE_RETURN, from);
      start !== -1;
      start = bytes.indexOf(CARRIAGE_RETURN, start + 1)
    ) {
      const tail = bytes.subarray(start);
      if (this.#delimiter.subarray(0, tail.length).equals(tail)) return start;
    }
    return bytes.length;
  }

  async #skip(afterDelimiter: Buffer): Promise<void> {
    let length = 0;
    let mark = "";
    for (let piece: Buffer | undefined = afterDelimiter; piece; piece = await this.#source.next()) {
      mark = mark.length < 2 ? (mark + piece.toString("latin1", 0, 2)).slice(0, 2) : mark;
      length += piece.length;
      if (length > EPILOGUE_BYTES_MAX) throw malformed();
    }
    if (mark !== "--" && mark !== "\r\n") throw malformed();
  }
}

const PARAMETER = /;\s*([\w*-]+)=(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))\s*/y;

function boundaryOf(contentType: string): string {
  if (!/^multipart\/form-data\s*;/i.test(contentType)) {
    throw new S3Error("PreconditionFailed", {
      elements: {
        Condition: "Bucket POST must be of the enclosure-type multipart/form-data",
      },
    });
  }
  const boundary = parameters(contentType).get("boundary") ?? "";
  if (boundary.length < 1 || boundary.length > 70) throw malformed();
  return boundary;
}

function parseDisposition(header: string): { name: string; fileName: string | undefined } {
  const line = header.split("\r\n").find((each) => /^content-disposition\s*:/i.test(each)) ?? "";
  if (!/^content-disposition\s*:\s*form-data\s*;/i.test(line)) throw malformed();
  const found = parameters(line);
  const name = found.get("name");
  if (name === undefined) throw malformed();
  return { name, fileName: extendedName(found.get("filename*")) ?? found.get("filename") };
}

/** Read in order, so that what looks like a parameter inside a quoted value is none. */
function parameters(line: string): Map<string, string> {
  const found = new Map<string, string>();
  PARAMETER.lastIndex = line.indexOf(";");
  for (let match = PARAMETER.exec(line); match; match = PARAMETER.exec(line)) {
    const [, name = "", quoted, plain = ""] = match;
    // Browsers write a quote as %22 and leave the backslashes of Windows paths alone.
    const value = quoted?.replaceAll('\\"', '"').replaceAll("%22", '"') ?? plain;
    if (found.has(name.toLowerCase())) throw malformed();
    found.set(name.toLowerCase(), value);
  }
  return found;
}

/** RFC 5987's form, `utf-8''na%C3%AFve.txt`, as Python's requests writes it. */
function extendedName(value: string | undefined): string | undefined {
  const encoded = value === undefined ? undefined : /^utf-8'[^']*'(.*)$/i.exec(value)?.[1];
  if (encoded === undefined) return undefined;
  try {
    return decodeURIComponent(encoded);
  } catch (cause) {
    throw new S3Error("MalformedPOSTRequest", { cause });
  }
}

/** Some browsers send the whole path: S3 uses what follows the last slash or backslash. */
function baseName(path: string): string {
  return path.slice(Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\")) + 1);
}

function text(bytes: Buffer): string {
  if (!isUtf8(bytes)) throw malformed();
  return bytes.toString("utf8");
}

function malformed(): S3Error {
  return new S3Error("MalformedPOSTRequest");
}

function tooLarge(): S3Error {
  return new S3Error("MaxPostPreDataLengthExceededError");
}

function noFile(): S3Error {
  return new S3Error("InvalidArgument", {
    message: "POST requires exactly one file upload per request.",
    elements: { ArgumentName: "file", ArgumentValue: "0" },
  });
}
