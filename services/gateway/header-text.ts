/** Unicode values spelled as header bytes. Strings here are what `node:http` writes: one character a byte. */
import { isUtf8 } from "node:buffer";

/** System metadata: as it came, Latin-1 where that holds it, else UTF-8. */
export function headerText(value: string): string {
  if (ASCII.test(value) || LATIN_1.test(value)) return value;
  return Buffer.from(value, "utf8").toString("latin1");
}

/**
 * User metadata. A header's own character set is Latin-1, and what that holds goes out as it is, since that is what
 * clients that sent it so will read. Anything else becomes an encoded word (RFC 2047), as on AWS (edge rule 29);
 * so does Latin-1 text that a reader of UTF-8 would take for something else.
 */
export function shownMetadata(value: string): string {
  if (ASCII.test(value)) return value;
  if (LATIN_1.test(value) && !isUtf8(Buffer.from(value, "latin1"))) return value;
  return encodedWords(value);
}

// oxlint-disable-next-line no-control-regex -- all of ASCII is meant
const ASCII = /^[\0-\x7f]*$/;
// oxlint-disable-next-line no-control-regex -- all of Latin-1 is meant
const LATIN_1 = /^[\0-\xff]*$/;

/** An encoded word has at most 75 characters, 12 of which are its frame: 45 bytes in base64 make 60. */
const WORD_BYTES_MAX = 45;

function encodedWords(value: string): string {
  const words: string[] = [];
  let word: string[] = [];
  let bytes = 0;
  for (const character of value) {
    const length = Buffer.byteLength(character);
    if (bytes + length > WORD_BYTES_MAX) {
      words.push(encodedWord(word.join("")));
      word = [];
      bytes = 0;
    }
    word.push(character);
    bytes += length;
  }
  words.push(encodedWord(word.join("")));
  // White space between encoded words is not part of the text.
  return words.join(" ");
}

function encodedWord(text: string): string {
  return `=?UTF-8?B?${Buffer.from(text, "utf8").toString("base64")}?=`;
}
