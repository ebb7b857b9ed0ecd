/** Who may sign requests. */

export interface User {
  readonly name: string;
  /** S3's canonical user id: 64 hex digits for users we make, anything the operator gave otherwise. */
  readonly ownerId: string;
  readonly displayName: string;
  readonly email: string | undefined;
  readonly accessKey: string;
  readonly secretKey: string;
}

/** The users as they are now; replaced whole when the users' file is read again. */
export interface Users {
  byAccessKey(accessKey: string): User | undefined;
  byOwnerId(ownerId: string): User | undefined;
}

export type Caller =
  | { readonly kind: "anonymous" }
  | { readonly kind: "user"; readonly user: User };
