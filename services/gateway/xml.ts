/** Documents: in through `readDocument`, strict and capped; out through a writer as fast as listings need. */
import { isUtf8 } from "node:buffer";
import { parseXml, XmlElement, XmlText } from "@rgrove/parse-xml";
import { S3Error } from "#gateway/errors.ts";

/** The namespace of every S3 document. */
export const S3_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/";

export const XML_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n';

/** The root of a document whose root element is named so; MalformedXML for anything else. Namespaces are not looked at. */
export function readDocument(bytes: Buffer, root: string): Element {
  if (bytes.length > DOCUMENT_BYTES_MAX || !isUtf8(bytes)) throw malformed();
  const text = bytes.toString("utf8");
  refuseOversized(text);
  const found = new Element(parse(text));
  if (found.name !== root) throw malformed();
  return found;
}

/** An element of a document that a client sent. What is missing, there twice or of the wrong kind is MalformedXML. */
export class Element {
  readonly name: string;
  readonly #node: XmlElement;
  #children: readonly Element[] | undefined;

  constructor(node: XmlElement) {
    this.#node = node;
    this.name = localName(node.name);
  }

  /** The character data, exactly as written; only of an element without elements. */
  get text(): string {
    for (const child of this.#node.children) if (child instanceof XmlElement) throw malformed();
    return this.#node.text;
  }

  /** A decimal number without sign. */
  get integer(): number {
    const text = this.text.trim();
    if (!INTEGER.test(text)) throw malformed();
    return Number(text);
  }

  get boolean(): boolean {
    const text = this.text.trim();
    if (text === "true") return true;
    if (text === "false") return false;
    throw malformed();
  }

  get children(): readonly Element[] {
    this.#children ??= this.#readChildren();
    return this.#children;
  }

  /** The attribute of that name, whatever its namespace's prefix. */
  attribute(name: string): string | undefined {
    const attributes = this.#node.attributes;
    const found = Object.keys(attributes).find((key) => localName(key) === name);
    return found === undefined ? undefined : attributes[found];
  }

  /** For documents whose schema AWS checks: an element not named here is MalformedXML. */
  only(...names: readonly string[]): this {
    for (const child of this.children) if (!names.includes(child.name)) throw malformed();
    return this;
  }

  all(name: string): readonly Element[] {
    return this.children.filter((child) => child.name === name);
  }

  child(name: string): Element | undefined {
    let found: Element | undefined;
    for (const child of this.children) {
      if (child.name !== name) continue;
      if (found !== undefined) throw malformed();
      found = child;
    }
    return found;
  }

  required(name: string): Element {
    const child = this.child(name);
    if (child === undefined) throw malformed();
    return child;
  }

  #readChildren(): readonly Element[] {
    const elements: Element[] = [];
    for (const child of this.#node.children) {
      if (child instanceof XmlElement) elements.push(new Element(child));
      else if (child instanceof XmlText && child.text.trim() !== "") throw malformed();
    }
    return elements;
  }
}

/** The text as character data of an element. Handles what XML 1.0 cannot hold as AWS does: by a reference. */
export function escapeXml(text: string): string {
  return SPECIAL.test(text) ? text.toWellFormed().replace(SPECIALS, reference) : text;
}

/** `<name>text</name>`; nothing for undefined. */
export function field(name: string, value: string | number | boolean | undefined): string {
  if (value === undefined) return "";
  const text = typeof value === "string" ? escapeXml(value) : String(value);
  return `<${name}>${text}</${name}>`;
}

/** An element around content that is XML already. */
export function element(name: string, ...content: readonly string[]): string {
  return `<${name}>${content.join("")}</${name}>`;
}

/** A whole document in S3's namespace, without the declaration that every answer gets. */
export function document(name: string, ...content: readonly string[]): string {
  return `<${name} xmlns="${S3_NAMESPACE}">${content.join("")}</${name}>`;
}

/**
 * Keys and prefixes of listings under `encoding-type=url`. AWS writes a space as `+`; `%20` means the same to every client that knows
 * that, and is right for those that do not (ceph/s3-tests asks for it). `/` stays, as on AWS.
 */
export function encodeUrl(text: string): string {
  if (URL_PLAIN.test(text)) return text;
  return encodeURIComponent(text.toWellFormed()).replace(URL_CORRECTIONS, correctUrl);
}

/** The largest document of S3: 10,000 parts with their checksums, generously indented. */
const DOCUMENT_BYTES_MAX = 4 * 1024 * 1024;
/** A completed part has five elements, a deleted object five; an ACL or CORS document far fewer. */
const TAGS_MAX = 2 * 8 * 10_000;
/** S3's deepest document has six levels; the parser is recursive, so this bounds its stack. */
const DEPTH_MAX = 20;
/** Room for a few namespaces; bounds the attributes of one element. */
const TAG_CHARACTERS_MAX = 2048;
/** Bounds the cost of a document made of references only. */
const REFERENCES_MAX = 200_000;

const INTEGER = /^\d{1,15}$/;
const ENCODING = /^\uFEFF?<\?xml\s[^>]*?encoding\s*=\s*["']([^"']*)["']/;

function malformed(cause?: unknown): S3Error {
  return new S3Error("MalformedXML", { cause });
}

function localName(name: string): string {
  return name.slice(name.indexOf(":") + 1);
}

function parse(text: string): XmlElement {
  try {
    const { root } = parseXml(text);
    if (root !== null) return root;
  } catch (cause) {
    throw malformed(cause);
  }
  throw malformed();
}

/** Refuses by one quick look what would cost the parser time, memory or stack, and every DOCTYPE, before it sees anything. */
function refuseOversized(text: string): void {
  const encoding = ENCODING.exec(text)?.[1];
  if (encoding !== undefined && encoding.toLowerCase() !== "utf-8") throw malformed();
  let depth = 0;
  let tags = 0;
  let at = text.indexOf("<");
  while (at >= 0) {
    if (text.startsWith("<!--", at)) {
      at = after(text, "-->", at + 4);
    } else if (text.startsWith("<![CDATA[", at)) {
      at = after(text, "]]>", at + 9);
    } else if (text.startsWith("<!", at)) {
      throw malformed();
    } else {
      const end = after(text, ">", at);
      if (end - at > TAG_CHARACTERS_MAX) throw malformed();
      if (text.startsWith("</", at)) depth--;
      else if (!text.startsWith("<?", at) && text[end - 2] !== "/") depth++;
      tags++;
      if (depth > DEPTH_MAX || tags > TAGS_MAX) throw malformed();
      at = end;
    }
    at = text.indexOf("<", at);
  }
  let references = 0;
  for (let i = text.indexOf("&"); i >= 0; i = text.indexOf("&", i + 1)) {
    references++;
    if (references > REFERENCES_MAX) throw malformed();
  }
}

function after(text: string, mark: string, from: number): number {
  const found = text.indexOf(mark, from);
  if (found < 0) throw malformed();
  return found + mark.length;
}

/** Markup, controls (a raw line end would be normalised by the reader), non-characters, and halves of surrogate pairs. */
const SPECIAL = /[&<>"\p{Cc}\ufffe\uffff]|\p{Surrogate}/u;
const SPECIALS = /[&<>"\p{Cc}\ufffe\uffff]/gu;

function reference(character: string): string {
  switch (character) {
    case "&":
      return "&amp;";
    case "<":
      return "&lt;";
    case ">":
      return "&gt;";
    case '"':
      return "&quot;";
    default:
      return `&#x${character.charCodeAt(0).toString(16).toUpperCase()};`;
  }
}

const URL_PLAIN = /^[\w.*/-]*$/;
const URL_CORRECTIONS = /%2F|[!'()~]/g;

function correctUrl(found: string): string {
  if (found === "%2F") return "/";
  return `%${found.charCodeAt(0).toString(16).toUpperCase()}`;
}
