// CRC-64/NVME in AssemblyScript: four braided lanes of eight table look-ups each.
//
// One lane alone waits for its own last result before every word. So lane i takes words i, i + 4, i + 8 … of
// the input, with tables that advance over four words at once, and the four are put together at the end, where
// each in turn is XORed into the next word before the ordinary tables. More lanes run out of registers.
//
// Memory, shared with crc64nvme.ts:
//   0       the CRC, complemented as it runs
//   64      tables for one word: eight of 256 entries, the first for the word's first byte
//   16,448  tables for four words
//   65,536  the input

const STATE: usize = 0;
const WORD: usize = 64;
const BRAID: usize = 16448;
const INPUT: usize = 65536;
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
  if (length >= BRAID_BYTES) {
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
