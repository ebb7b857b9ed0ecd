/** Names of data folders as operators write them; pure. */

/** MinIO's `/data{1...4}`: four folders. */
export function expandEllipsis(folder: string): string[] {
  const match = /^(.*)\{(\d+)\.\.\.(\d+)\}(.*)$/.exec(folder);
  if (match === null) return [folder];
  const [, before = "", first = "", last = "", after = ""] = match;
  const folders: string[] = [];
  for (let number = Number(first); number <= Number(last); number++) {
    folders.push(
      ...expandEllipsis(`${before}${String(number).padStart(first.length, "0")}${after}`),
    );
  }
  return folders;
}

/** Throws for what names another machine. */
export function checkFolderName(folder: string): void {
  if (!/^https?:\/\//.test(folder)) return;
  throw new Error(`"${folder}" is another machine's: this version runs on one; give its folders`);
}
