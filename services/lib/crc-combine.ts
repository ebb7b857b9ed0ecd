/**
 * The CRC of two adjacent runs of bytes from the CRC of each: how the full-object checksum of an upload
 * in parts comes about without reading the parts again.
 *
 * A CRC is a remainder of polynomials over GF(2). Bytes that follow multiply what came before by a power
 * of x; with the initial value and the final XOR both all ones, as in all three CRCs here, the constants
 * cancel: crc(AB) = crc(A) · x^(8·|B|) + crc(B). Polynomials are kept as CRCs are, the power 0 at the top bit.
 */

export type CrcAlgorithm = "CRC32" | "CRC32C" | "CRC64NVME";

interface Field {
  /** 4 or 8. */
  readonly bytes: number;
  readonly polynomial: Polynomial;
  /** x^(8·2ⁱ) at i, as far as it was needed. */
  readonly powers: Polynomial[];
}

/** Of 32 bits the low half is 0. */
interface Polynomial {
  readonly high: number;
  readonly low: number;
}

const FIELDS: Readonly<Record<CrcAlgorithm, Field>> = {
  CRC32: field(4, { high: 0xedb88320, low: 0 }),
  CRC32C: field(4, { high: 0x82f63b78, low: 0 }),
  CRC64NVME: field(8, { high: 0x9a6c9329, low: 0xac4bc9b5 }),
};

/** CRCs are big endian, as S3 shows them. */
export function combineCrcs(
  algorithm: CrcAlgorithm,
  { first, second, secondLength }: { first: Uint8Array; second: Uint8Array; secondLength: number },
): Buffer {
  const inField = FIELDS[algorithm];
  const shifted = product(inField, read(inField, first), powerOfBytes(inField, secondLength));
  const last = read(inField, second);
  const combined = Buffer.allocUnsafe(8);
  combined.writeUInt32BE((shifted.high ^ last.high) >>> 0, 0);
  combined.writeUInt32BE((shifted.low ^ last.low) >>> 0, 4);
  return combined.subarray(0, inField.bytes);
}

function field(bytes: number, polynomial: Polynomial): Field {
  return { bytes, polynomial, powers: [{ high: 0x80000000 >>> 8, low: 0 }] };
}

function read({ bytes }: Field, crc: Uint8Array): Polynomial {
  if (crc.length !== bytes) {
    throw new Error(`Cannot combine CRCs: one has ${crc.length} bytes, not ${bytes}`);
  }
  const view = new DataView(crc.buffer, crc.byteOffset, bytes);
  return { high: view.getUint32(0), low: bytes === 8 ? view.getUint32(4) : 0 };
}

/** x^(8·length). */
function powerOfBytes(inField: Field, length: number): Polynomial {
  let power: Polynomial = { high: 0x80000000, low: 0 };
  for (let index = 0, rest = length; rest > 0; index += 1, rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) power = product(inField, power, doublePower(inField, index));
  }
  return power;
}

function doublePower(inField: Field, index: number): Polynomial {
  const known = inField.powers[index];
  if (known) return known;
  const root = doublePower(inField, index - 1);
  const power = product(inField, root, root);
  inField.powers[index] = power;
  return power;
}

function product({ bytes, polynomial }: Field, left: Polynomial, right: Polynomial): Polynomial {
  const isWide = bytes === 8;
  let { high, low } = right;
  let sumHigh = 0;
  let sumLow = 0;
  for (let power = 0; power < bytes * 8; power += 1) {
    const half = power < 32 ? left.high : left.low;
    if ((half >>> (31 - (power & 31))) & 1) {
      sumHigh ^= high;
      sumLow ^= low;
    }
    const isOver = (isWide ? low : high) & 1;
    low = isWide ? (low >>> 1) | (high << 31) : 0;
    high >>>= 1;
    if (isOver) {
      high ^= polynomial.high;
      low ^= polynomial.low;
    }
  }
  return { high: sumHigh >>> 0, low: sumLow >>> 0 };
}
