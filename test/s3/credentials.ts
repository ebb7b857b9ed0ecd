/** Keys and certificates of the servers that tests start. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";

export const ACCESS_KEY = "anybucket";
export const SECRET_KEY = "anybucket-secret";

/** A self-signed certificate for 127.0.0.1 and localhost. */
export function makeCertificate(folder: string): { cert: string; key: string } {
  const cert = join(folder, "cert.pem");
  const key = join(folder, "key.pem");
  const subject = [
    "-subj",
    "/CN=localhost",
    "-addext",
    "subjectAltName=DNS:localhost,IP:127.0.0.1",
  ];
  const files = ["-keyout", key, "-out", cert];
  execFileSync(
    "openssl",
    [
      "req",
      "-x509",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:prime256v1",
      "-nodes",
      "-days",
      "2",
      ...subject,
      ...files,
    ],
    { stdio: "ignore" },
  );
  return { cert, key };
}
