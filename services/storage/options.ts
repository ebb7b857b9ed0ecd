/** What may be set of a disk's store; tests use small figures. */
export interface StorageOptions {
  /** A volume is closed once it is this long. */
  readonly volumeBytes: number;
  /** New shards are refused when less is free than the smaller of the two; removes, repair and compaction go on (R19). */
  readonly reserveBytes: number;
  readonly reserveShare: number;
  /** Volumes open for reading at a time. */
  readonly openVolumesMax: number;
  /** A closed volume whose live share falls below this is compacted. */
  readonly compactBelow: number;
  /** Writing volumes that may fail before the disk takes no more writes. */
  readonly faultsMax: number;
}

export const DEFAULT_STORAGE_OPTIONS: StorageOptions = {
  volumeBytes: 2 ** 30,
  reserveBytes: 5 * 2 ** 30,
  reserveShare: 0.05,
  openVolumesMax: 128,
  compactBelow: 0.5,
  faultsMax: 3,
};
