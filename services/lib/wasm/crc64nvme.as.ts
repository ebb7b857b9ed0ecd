// CRC-64/NVME in AssemblyScript, in two steps: long inputs are first made short, then the rest is looked up.
//
// Folding. A CRC is the remainder modulo a polynomial P, so a multiple of P may be added to the message without
// changing it. This one has only nine terms, all of them whole bytes apart (found by searching for nine powers of x⁸
// whose remainders cancel; crc64nvme.test.ts checks it):
//   S = x^(8·1125) + x^(8·944) + x^(8·818) + x^(8·609) + x^(8·544) + x^(8·540) + x^(8·413) + x^(8·171) + 1
// Cancelling the message's byte i with a multiple of S adds that byte 181, 307, 516, … 1,125 bytes further on. So each
// byte becomes the XOR of itself and of eight earlier results, 64 bytes at once, and only the last 1,125 bytes or so
// remain. (The idea is that of Chorba, Russell 2024.)
//
// Looking up. Four braided lanes of eight table look-ups each: one lane alone waits for its own last result before
// every word. So lane i takes words i, i + 4, i + 8 … of the input, with tables that advance over four words at once,
// and the four are put together at the end, where each in turn is XORed into the next word before the ordinary
// tables. More lanes run out of registers.
//
// Memory, shared with crc64nvme.ts:
//   0       the CRC, complemented as it runs
//   64      tables for one word: eight of 256 entries, the first for the word's first byte
//   16,448  tables for four words
//   32,832  the fold's last results, then zeros
//   64,384  zeros, which stand before the input
//   65,536  the input; overwritten

const STATE: usize = 0;
const WORD: usize = 64;
const BRAID: usize = 16448;
const LAST: usize = 32832;
const INPUT: usize = 65536;
/** Bytes that folding looks back, rounded up to its step. */
const REACH: i32 = 1152;
const FOLD_STEP: i32 = 64;
/** Shorter ones are looked up as fast. */
const FOLD_MIN: i32 = 2048;
const TABLE_BYTES: usize = 2048;
const BYTE: usize = WORD + 7 * TABLE_BYTES;
/** Masks a byte times 8, the size of an entry. */
const ENTRIES: usize = 0x7f8;
const BRAID_BYTES: i32 = 32;
const POLYNOMIAL: u64 = 0x9a6c9329ac4bc9b5;

export function prepare(): void {
  for (let byte: usize = 0; byte < 256; byte++) {
    let crc: u64 = byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (crc & 1 ? POLYNOMIAL : 0);
    store<u64>(BYTE + (byte << 3), crc);
  }
  for (let entry: usize = 7 * 256; entry-- > 0; ) {
    let next = load<u64>(WORD + TABLE_BYTES + (entry << 3));
    store<u64>(WORD + (entry << 3), overByte(next, 0));
  }
  for (let entry: usize = 0; entry < 8 * 256; entry++) {
    let crc = load<u64>(WORD + (entry << 3));
    store<u64>(BRAID + (entry << 3), overWord(overWord(overWord(crc))));
  }
}

/** Takes the first bytes of the input into the state. */
export function update(length: i32): void {
  let crc = load<u64>(STATE);
  let at = INPUT;
  let end = INPUT + length;
  if (length >= FOLD_MIN) {
    store<u64>(at, crc ^ load<u64>(at));
    crc = 0;
    at = fold(length);
  }
  if (at + BRAID_BYTES <= end) {
    let b: u64 = 0, c: u64 = 0, d: u64 = 0;
    for (let last = end - BRAID_BYTES * 2; at <= last; at += BRAID_BYTES) {
      crc = overBraid(crc ^ load<u64>(at));
      b = overBraid(b ^ load<u64>(at, 8));
      c = overBraid(c ^ load<u64>(at, 16));
      d = overBraid(d ^ load<u64>(at, 24));
    }
    crc = overWord(crc ^ load<u64>(at));
    crc = overWord(crc ^ b ^ load<u64>(at, 8));
    crc = overWord(crc ^ c ^ load<u64>(at, 16));
    crc = overWord(crc ^ d ^ load<u64>(at, 24));
    at += BRAID_BYTES;
  }
  for (; at + 8 <= end; at += 8) crc = overWord(crc ^ load<u64>(at));
  for (; at < end; at++) crc = overByte(crc, load<u8>(at));
  store<u64>(STATE, crc);
}

/** Adds multiples of S until all but the end is zero, and says where what is left begins. */
function fold(length: i32): usize {
  let end = INPUT + ((length - REACH) & -FOLD_STEP);
  for (let at = INPUT; at < end; at += FOLD_STEP) {
    v128.store(at, v128.xor(v128.load(at), earlier(at)));
    v128.store(at, v128.xor(v128.load(at, 16), earlier(at + 16)), 16);
    v128.store(at, v128.xor(v128.load(at, 32), earlier(at + 32)), 32);
    v128.store(at, v128.xor(v128.load(at, 48), earlier(at + 48)), 48);
  }
  // From here on bytes are not cancelled, so they add nothing to later ones: zeros in their place.
  memory.copy(LAST, end - REACH, REACH);
  for (let offset: usize = 0; offset < <usize>REACH; offset += 16) {
    v128.store(end + offset, v128.xor(v128.load(end + offset), earlier(LAST + REACH + offset)));
  }
  return end;
}

/** What is added to the 16 bytes there: the offsets are the exponents of S, counted from the farthest byte. */
@inline
function earlier(at: usize): v128 {
  let farthest = at - 1125;
  return v128.xor(
    v128.xor(
      v128.xor(v128.load(farthest), v128.load(farthest, 171)),
      v128.xor(v128.load(farthest, 413), v128.load(farthest, 540)),
    ),
    v128.xor(
      v128.xor(v128.load(farthest, 544), v128.load(farthest, 609)),
      v128.xor(v128.load(farthest, 818), v128.load(farthest, 944)),
    ),
  );
}

@inline
function overByte(crc: u64, byte: u8): u64 {
  return (crc >> 8) ^ load<u64>(((<usize>crc ^ byte) & 255) << 3, BYTE);
}

// The XOR of what each byte of a word stands for. A byte is masked out already multiplied by its entry's size,
// and the table is the load's constant offset: one instruction for each.

@inline
function overWord(word: u64): u64 {
  return (
    load<u64>((<usize>word << 3) & ENTRIES, WORD) ^
    load<u64>((<usize>(word >> 5)) & ENTRIES, WORD + TABLE_BYTES) ^
    load<u64>((<usize>(word >> 13)) & ENTRIES, WORD + 2 * TABLE_BYTES) ^
    load<u64>((<usize>(word >> 21)) & ENTRIES, WORD + 3 * TABLE_BYTES) ^
    (load<u64>((<usize>(word >> 29)) & ENTRIES, WORD + 4 * TABLE_BYTES) ^
      load<u64>((<usize>(word >> 37)) & ENTRIES, WORD + 5 * TABLE_BYTES) ^
      load<u64>((<usize>(word >> 45)) & ENTRIES, WORD + 6 * TABLE_BYTES) ^
      load<u64>((<usize>(word >> 53)) & ENTRIES, WORD + 7 * TABLE_BYTES))
  );
}

@inline
function overBraid(word: u64): u64 {
  return (
    load<u64>((<usize>word << 3) & ENTRIES, BRAID) ^
    load<u64>((<usize>(word >> 5)) & ENTRIES, BRAID + TABLE_BYTES) ^
    load<u64>((<usize>(word >> 13)) & ENTRIES, BRAID + 2 * TABLE_BYTES) ^
    load<u64>((<usize>(word >> 21)) & ENTRIES, BRAID + 3 * TABLE_BYTES) ^
    (load<u64>((<usize>(word >> 29)) & ENTRIES, BRAID + 4 * TABLE_BYTES) ^
      load<u64>((<usize>(word >> 37)) & ENTRIES, BRAID + 5 * TABLE_BYTES) ^
      load<u64>((<usize>(word >> 45)) & ENTRIES, BRAID + 6 * TABLE_BYTES) ^
      load<u64>((<usize>(word >> 53)) & ENTRIES, BRAID + 7 * TABLE_BYTES))
  );
}
