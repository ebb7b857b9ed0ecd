/** AWS's own model of S3, as the SDK carries it: operations, and what each takes from headers, query and document. */
import * as sdk from "@aws-sdk/client-s3";

export interface ModelOperation {
  readonly name: string;
  readonly method: string;
  readonly target: "service" | "bucket" | "object";
  /** Query parameters of the URI itself: the sub-resource. */
  readonly query: readonly string[];
  readonly members: readonly ModelMember[];
  readonly document: ModelElement | undefined;
  /** Inputs that are none of these, nor in the path, nor bytes: elements of a document that has no root in the model. */
  readonly others: readonly string[];
}

export interface ModelMember {
  readonly place: "header" | "prefix" | "query";
  /** Headers in lower case. */
  readonly name: string;
}

export interface ModelElement {
  readonly name: string;
  readonly isAttribute: boolean;
  /** Empty for text. */
  readonly children: readonly ModelElement[];
}

export function readServiceModel(): readonly ModelOperation[] {
  return Object.entries(sdk)
    .filter(([name, value]) => name.endsWith("$") && Array.isArray(value) && value[0] === OPERATION)
    .map(([, value]) => readOperation(value as unknown as OperationSchema));
}

// The SDK's schemas are arrays that begin with their kind:
// https://github.com/smithy-lang/smithy-typescript/tree/main/packages/types/src/schema
const LIST = 1;
const STRUCTURE = 3;
const OPERATION = 9;

interface Traits {
  readonly http?: readonly [method: string, uri: string, status: number];
  readonly httpHeader?: string;
  readonly httpPrefixHeaders?: string;
  readonly httpQuery?: string;
  readonly httpPayload?: 1;
  readonly xmlName?: string;
  readonly xmlFlattened?: 1;
  readonly xmlAttribute?: 1;
}

type OperationSchema = readonly [
  kind: 9,
  space: string,
  name: string,
  traits: Traits,
  input: () => StructureSchema,
];
type StructureSchema = readonly [
  kind: 3,
  space: string,
  name: string,
  traits: Traits | 0,
  names: readonly string[],
  members: readonly unknown[],
];

function readOperation([, , name, traits, input]: OperationSchema): ModelOperation {
  const [method, uri] = traits.http ?? ["", "", 0];
  const [path = "", search = ""] = uri.split("?");
  const [, , , , names, schemas] = input();
  const members: ModelMember[] = [];
  const others: string[] = [];
  let document: ModelElement | undefined;
  let hasBucket = false;
  for (const [index, memberName] of names.entries()) {
    const member = traitsOf(schemas[index]);
    if (memberName === "Bucket") hasBucket = true;
    if (member.httpHeader) {
      members.push({ place: "header", name: member.httpHeader.toLowerCase() });
    } else if (member.httpPrefixHeaders) {
      members.push({ place: "prefix", name: member.httpPrefixHeaders.toLowerCase() });
    } else if (member.httpQuery) {
      members.push({ place: "query", name: member.httpQuery });
    } else if (member.httpPayload && isStructure(shapeOf(schemas[index]))) {
      document = readElement(memberName, schemas[index]);
    } else if (!isInPathOrBytes(schemas[index])) {
      others.push(memberName);
    }
  }
  return {
    name,
    method,
    target: path.includes("{Key+}") ? "object" : hasBucket ? "bucket" : "service",
    query: search.split("&").filter((condition) => condition !== ""),
    members,
    document,
    others,
  };
}

/** A list that is not flattened has an element of its own around its items. */
function readElement(memberName: string, schema: unknown): ModelElement {
  const traits = traitsOf(schema);
  const name = traits.xmlName ?? memberName;
  const shape = shapeOf(schema);
  if (Array.isArray(shape) && shape[0] === LIST) {
    const item = shape[4] as unknown;
    if (traits.xmlFlattened) return { ...readElement("member", item), name };
    return { name, isAttribute: false, children: [readElement("member", item)] };
  }
  if (!isStructure(shape)) return { name, isAttribute: traits.xmlAttribute === 1, children: [] };
  const [, , , , names, members] = shape;
  return {
    name,
    isAttribute: false,
    children: names.map((child, index) => readElement(child, members[index])),
  };
}

function isStructure(shape: unknown): shape is StructureSchema {
  return Array.isArray(shape) && shape[0] === STRUCTURE;
}

/** A member is a schema, or a pair of a schema and its traits as a member, in bits where these say it all. A schema itself is longer. */
function isPair(schema: unknown): schema is readonly [schema: unknown, traits: Traits | number] {
  return Array.isArray(schema) && schema.length === 2;
}

/** Their traits are bits: 1 for a part of the path, 16 for the body as it is. */
function isInPathOrBytes(schema: unknown): boolean {
  return isPair(schema) && (schema[1] === 1 || schema[1] === 16);
}

function traitsOf(schema: unknown): Traits {
  const traits = isPair(schema) ? schema[1] : {};
  return typeof traits === "number" ? {} : traits;
}

function shapeOf(schema: unknown): unknown {
  const inner: unknown = isPair(schema) ? schema[0] : schema;
  return typeof inner === "function" ? shapeOf((inner as () => unknown)()) : inner;
}
