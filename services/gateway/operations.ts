/**
 * THE TABLE: every operation of S3's data plane, named as AWS names it. The router, the permission check, metric labels and the reports
 * all read it; adding an operation is one row here and one file in operations/. A row without handler is answered 501.
 */
import type { NotConfigured, Operation } from "#gateway/context.ts";
import { abortMultipartUpload } from "#gateway/operations/abort-multipart-upload.ts";
import { getBucketAcl, putBucketAcl } from "#gateway/operations/bucket-acl.ts";
import { deleteBucketCors, getBucketCors, putBucketCors } from "#gateway/operations/bucket-cors.ts";
import {
  deleteBucketOwnershipControls,
  getBucketOwnershipControls,
  putBucketOwnershipControls,
} from "#gateway/operations/bucket-ownership-controls.ts";
import {
  deleteBucketTagging,
  getBucketTagging,
  putBucketTagging,
} from "#gateway/operations/bucket-tagging.ts";
import { getBucketVersioning, putBucketVersioning } from "#gateway/operations/bucket-versioning.ts";
import { completeMultipartUpload } from "#gateway/operations/complete-multipart-upload.ts";
import { copyObject } from "#gateway/operations/copy-object.ts";
import { createBucket } from "#gateway/operations/create-bucket.ts";
import { createMultipartUpload } from "#gateway/operations/create-multipart-upload.ts";
import { deleteBucket } from "#gateway/operations/delete-bucket.ts";
import { deleteObject } from "#gateway/operations/delete-object.ts";
import { deleteObjects } from "#gateway/operations/delete-objects.ts";
import { getBucketLocation } from "#gateway/operations/get-bucket-location.ts";
import { getObject } from "#gateway/operations/get-object.ts";
import { getObjectAttributes } from "#gateway/operations/get-object-attributes.ts";
import { headBucket } from "#gateway/operations/head-bucket.ts";
import { headObject } from "#gateway/operations/head-object.ts";
import { listBuckets } from "#gateway/operations/list-buckets.ts";
import { listMultipartUploads } from "#gateway/operations/list-multipart-uploads.ts";
import { listObjectVersions } from "#gateway/operations/list-object-versions.ts";
import { listObjects } from "#gateway/operations/list-objects.ts";
import { listObjectsV2 } from "#gateway/operations/list-objects-v2.ts";
import { listParts } from "#gateway/operations/list-parts.ts";
import { getObjectAcl, putObjectAcl } from "#gateway/operations/object-acl.ts";
import {
  deleteObjectTagging,
  getObjectTagging,
  putObjectTagging,
} from "#gateway/operations/object-tagging.ts";
import { postObject } from "#gateway/operations/post-object.ts";
import { putObject } from "#gateway/operations/put-object.ts";
import { uploadPart } from "#gateway/operations/upload-part.ts";
import { uploadPartCopy } from "#gateway/operations/upload-part-copy.ts";
import { document, field } from "#gateway/xml.ts";

/** For reading a lock of an object: AWS has no own code for a bucket without Object Lock. */
const NO_OBJECT_LOCK: NotConfigured = {
  code: "InvalidRequest",
  message: "Bucket is missing Object Lock Configuration",
};

export const OPERATIONS = {
  // The service.
  ListBuckets: row("GET service", "s3:ListAllMyBuckets", {
    tier: 1,
    bucket: "not-loaded",
    handle: listBuckets,
  }),
  ListDirectoryBuckets: row(
    "GET service?x-id=ListDirectoryBuckets",
    "s3express:ListAllMyDirectoryBuckets",
    { bucket: "not-loaded" },
  ),
  WriteGetObjectResponse: row("POST bucket", "s3-object-lambda:WriteGetObjectResponse", {
    headers: ["x-amz-request-route"],
    bucket: "not-loaded",
  }),

  // Buckets.
  CreateBucket: row("PUT bucket", "s3:CreateBucket", {
    tier: 1,
    bucket: "not-loaded",
    grows: true,
    handle: createBucket,
  }),
  HeadBucket: row("HEAD bucket", "s3:ListBucket", { tier: 1, handle: headBucket }),
  DeleteBucket: row("DELETE bucket", "s3:DeleteBucket", { tier: 1, handle: deleteBucket }),
  GetBucketLocation: row("GET bucket?location", "s3:GetBucketLocation", {
    handle: getBucketLocation,
  }),
  CreateSession: row("GET bucket?session", "s3express:CreateSession"),

  // Listings of a bucket.
  ListObjects: row("GET bucket", "s3:ListBucket", { handle: listObjects }),
  ListObjectsV2: row("GET bucket?list-type=2", "s3:ListBucket", { tier: 1, handle: listObjectsV2 }),
  ListObjectVersions: row("GET bucket?versions", "s3:ListBucketVersions", {
    handle: listObjectVersions,
  }),
  ListMultipartUploads: row("GET bucket?uploads", "s3:ListBucketMultipartUploads", {
    tier: 2,
    handle: listMultipartUploads,
  }),

  // Objects.
  PutObject: row("PUT object", "s3:PutObject", {
    tier: 1,
    streams: true,
    grows: true,
    handle: putObject,
  }),
  GetObject: row("GET object", "s3:GetObject", {
    versionAction: "s3:GetObjectVersion",
    tier: 1,
    authorises: "handler",
    handle: getObject,
  }),
  HeadObject: row("HEAD object", "s3:GetObject", {
    versionAction: "s3:GetObjectVersion",
    tier: 1,
    authorises: "handler",
    handle: headObject,
  }),
  DeleteObject: row("DELETE object", "s3:DeleteObject", {
    versionAction: "s3:DeleteObjectVersion",
    tier: 1,
    handle: deleteObject,
  }),
  DeleteObjects: row("POST bucket?delete", "s3:DeleteObject", {
    tier: 1,
    authorises: "handler",
    handle: deleteObjects,
  }),
  CopyObject: row("PUT object", "s3:PutObject", {
    headers: ["x-amz-copy-source"],
    tier: 1,
    grows: true,
    handle: copyObject,
  }),
  PostObject: row("POST bucket", "s3:PutObject", {
    tier: 3,
    authorises: "handler",
    grows: true,
    handle: postObject,
  }),
  GetObjectAttributes: row("GET object?attributes", "s3:GetObjectAttributes", {
    versionAction: "s3:GetObjectVersionAttributes",
    authorises: "handler",
    handle: getObjectAttributes,
  }),
  RenameObject: row("PUT object?renameObject", "s3:RenameObject"),
  RestoreObject: row("POST object?restore", "s3:RestoreObject"),
  SelectObjectContent: row("POST object?select&select-type=2", "s3:GetObject"),
  GetObjectTorrent: row("GET object?torrent", "s3:GetObjectTorrent"),
  UpdateObjectEncryption: row("PUT object?encryption", "s3:UpdateObjectEncryption"),

  // Uploads in parts.
  CreateMultipartUpload: row("POST object?uploads", "s3:PutObject", {
    tier: 2,
    grows: true,
    handle: createMultipartUpload,
  }),
  UploadPart: row("PUT object?uploadId", "s3:PutObject", {
    tier: 2,
    streams: true,
    grows: true,
    handle: uploadPart,
  }),
  UploadPartCopy: row("PUT object?uploadId", "s3:PutObject", {
    headers: ["x-amz-copy-source"],
    tier: 2,
    grows: true,
    handle: uploadPartCopy,
  }),
  CompleteMultipartUpload: row("POST object?uploadId", "s3:PutObject", {
    tier: 2,
    handle: completeMultipartUpload,
  }),
  AbortMultipartUpload: row("DELETE object?uploadId", "s3:AbortMultipartUpload", {
    tier: 2,
    handle: abortMultipartUpload,
  }),
  ListParts: row("GET object?uploadId", "s3:ListMultipartUploadParts", {
    tier: 2,
    handle: listParts,
  }),

  // What is attached to an object.
  GetObjectAcl: row("GET object?acl", "s3:GetObjectAcl", {
    versionAction: "s3:GetObjectVersionAcl",
    authorises: "handler",
    handle: getObjectAcl,
  }),
  PutObjectAcl: row("PUT object?acl", "s3:PutObjectAcl", {
    versionAction: "s3:PutObjectVersionAcl",
    authorises: "handler",
    grows: true,
    handle: putObjectAcl,
  }),
  GetObjectTagging: row("GET object?tagging", "s3:GetObjectTagging", {
    versionAction: "s3:GetObjectVersionTagging",
    authorises: "handler",
    handle: getObjectTagging,
  }),
  PutObjectTagging: row("PUT object?tagging", "s3:PutObjectTagging", {
    versionAction: "s3:PutObjectVersionTagging",
    authorises: "handler",
    grows: true,
    handle: putObjectTagging,
  }),
  DeleteObjectTagging: row("DELETE object?tagging", "s3:DeleteObjectTagging", {
    versionAction: "s3:DeleteObjectVersionTagging",
    authorises: "handler",
    handle: deleteObjectTagging,
  }),
  GetObjectAnnotation: row("GET object?annotation&annotationName", "s3:GetObjectAnnotation"),
  ListObjectAnnotations: row("GET object?annotation", "s3:ListObjectAnnotations"),
  PutObjectAnnotation: row("PUT object?annotation", "s3:PutObjectAnnotation"),
  DeleteObjectAnnotation: row("DELETE object?annotation", "s3:DeleteObjectAnnotation"),
  GetObjectLegalHold: row("GET object?legal-hold", "s3:GetObjectLegalHold", {
    notConfigured: NO_OBJECT_LOCK,
  }),
  PutObjectLegalHold: row("PUT object?legal-hold", "s3:PutObjectLegalHold"),
  GetObjectRetention: row("GET object?retention", "s3:GetObjectRetention", {
    notConfigured: NO_OBJECT_LOCK,
  }),
  PutObjectRetention: row("PUT object?retention", "s3:PutObjectRetention"),

  // Configurations of a bucket.
  GetBucketVersioning: row("GET bucket?versioning", "s3:GetBucketVersioning", {
    handle: getBucketVersioning,
  }),
  PutBucketVersioning: row("PUT bucket?versioning", "s3:PutBucketVersioning", {
    handle: putBucketVersioning,
  }),
  GetBucketAcl: row("GET bucket?acl", "s3:GetBucketAcl", { handle: getBucketAcl }),
  PutBucketAcl: row("PUT bucket?acl", "s3:PutBucketAcl", { handle: putBucketAcl }),
  GetBucketCors: row("GET bucket?cors", "s3:GetBucketCORS", { tier: 3, handle: getBucketCors }),
  PutBucketCors: row("PUT bucket?cors", "s3:PutBucketCORS", { tier: 3, handle: putBucketCors }),
  DeleteBucketCors: row("DELETE bucket?cors", "s3:PutBucketCORS", {
    tier: 3,
    handle: deleteBucketCors,
  }),
  GetBucketTagging: row("GET bucket?tagging", "s3:GetBucketTagging", { handle: getBucketTagging }),
  PutBucketTagging: row("PUT bucket?tagging", "s3:PutBucketTagging", { handle: putBucketTagging }),
  DeleteBucketTagging: row("DELETE bucket?tagging", "s3:PutBucketTagging", {
    handle: deleteBucketTagging,
  }),
  GetBucketOwnershipControls: row("GET bucket?ownershipControls", "s3:GetBucketOwnershipControls", {
    handle: getBucketOwnershipControls,
  }),
  PutBucketOwnershipControls: row("PUT bucket?ownershipControls", "s3:PutBucketOwnershipControls", {
    handle: putBucketOwnershipControls,
  }),
  DeleteBucketOwnershipControls: row(
    "DELETE bucket?ownershipControls",
    "s3:PutBucketOwnershipControls",
    { handle: deleteBucketOwnershipControls },
  ),
  GetBucketPolicyStatus: row("GET bucket?policyStatus", "s3:GetBucketPolicyStatus", {
    notConfigured: { code: "NoSuchBucketPolicy" },
  }),
  GetBucketPolicy: row("GET bucket?policy", "s3:GetBucketPolicy", {
    notConfigured: { code: "NoSuchBucketPolicy" },
  }),
  PutBucketPolicy: row("PUT bucket?policy", "s3:PutBucketPolicy"),
  DeleteBucketPolicy: row("DELETE bucket?policy", "s3:DeleteBucketPolicy", {
    notConfigured: { status: 204 },
  }),
  GetPublicAccessBlock: row("GET bucket?publicAccessBlock", "s3:GetBucketPublicAccessBlock", {
    notConfigured: { code: "NoSuchPublicAccessBlockConfiguration" },
  }),
  PutPublicAccessBlock: row("PUT bucket?publicAccessBlock", "s3:PutBucketPublicAccessBlock"),
  DeletePublicAccessBlock: row("DELETE bucket?publicAccessBlock", "s3:PutBucketPublicAccessBlock", {
    notConfigured: { status: 204 },
  }),
  GetBucketLifecycleConfiguration: row("GET bucket?lifecycle", "s3:GetLifecycleConfiguration", {
    notConfigured: { code: "NoSuchLifecycleConfiguration" },
  }),
  PutBucketLifecycleConfiguration: row("PUT bucket?lifecycle", "s3:PutLifecycleConfiguration"),
  DeleteBucketLifecycle: row("DELETE bucket?lifecycle", "s3:PutLifecycleConfiguration", {
    notConfigured: { status: 204 },
  }),
  GetBucketEncryption: row("GET bucket?encryption", "s3:GetEncryptionConfiguration", {
    notConfigured: { code: "ServerSideEncryptionConfigurationNotFoundError" },
  }),
  PutBucketEncryption: row("PUT bucket?encryption", "s3:PutEncryptionConfiguration"),
  DeleteBucketEncryption: row("DELETE bucket?encryption", "s3:PutEncryptionConfiguration", {
    notConfigured: { status: 204 },
  }),
  GetBucketReplication: row("GET bucket?replication", "s3:GetReplicationConfiguration", {
    notConfigured: { code: "ReplicationConfigurationNotFoundError" },
  }),
  PutBucketReplication: row("PUT bucket?replication", "s3:PutReplicationConfiguration"),
  DeleteBucketReplication: row("DELETE bucket?replication", "s3:PutReplicationConfiguration", {
    notConfigured: { status: 204 },
  }),
  GetBucketWebsite: row("GET bucket?website", "s3:GetBucketWebsite", {
    notConfigured: { code: "NoSuchWebsiteConfiguration" },
  }),
  PutBucketWebsite: row("PUT bucket?website", "s3:PutBucketWebsite"),
  DeleteBucketWebsite: row("DELETE bucket?website", "s3:DeleteBucketWebsite", {
    notConfigured: { status: 204 },
  }),
  GetObjectLockConfiguration: row("GET bucket?object-lock", "s3:GetBucketObjectLockConfiguration", {
    notConfigured: { code: "ObjectLockConfigurationNotFoundError" },
  }),
  PutObjectLockConfiguration: row("PUT bucket?object-lock", "s3:PutBucketObjectLockConfiguration"),
  GetBucketLogging: row("GET bucket?logging", "s3:GetBucketLogging", {
    notConfigured: { document: document("BucketLoggingStatus") },
  }),
  PutBucketLogging: row("PUT bucket?logging", "s3:PutBucketLogging"),
  GetBucketNotificationConfiguration: row("GET bucket?notification", "s3:GetBucketNotification", {
    notConfigured: { document: document("NotificationConfiguration") },
  }),
  PutBucketNotificationConfiguration: row("PUT bucket?notification", "s3:PutBucketNotification"),
  GetBucketAccelerateConfiguration: row("GET bucket?accelerate", "s3:GetAccelerateConfiguration", {
    notConfigured: { document: document("AccelerateConfiguration") },
  }),
  PutBucketAccelerateConfiguration: row("PUT bucket?accelerate", "s3:PutAccelerateConfiguration"),
  GetBucketRequestPayment: row("GET bucket?requestPayment", "s3:GetBucketRequestPayment", {
    notConfigured: {
      document: document("RequestPaymentConfiguration", field("Payer", "BucketOwner")),
    },
  }),
  PutBucketRequestPayment: row("PUT bucket?requestPayment", "s3:PutBucketRequestPayment"),
  GetBucketAbac: row("GET bucket?abac", "s3:GetBucketAbac"),
  PutBucketAbac: row("PUT bucket?abac", "s3:PutBucketAbac"),

  // Several configurations of one kind, by id.
  GetBucketAnalyticsConfiguration: row("GET bucket?analytics&id", "s3:GetAnalyticsConfiguration", {
    notConfigured: { code: "NoSuchConfiguration" },
  }),
  ListBucketAnalyticsConfigurations: row("GET bucket?analytics", "s3:GetAnalyticsConfiguration", {
    notConfigured: { document: noneOf("ListBucketAnalyticsConfigurationResult") },
  }),
  PutBucketAnalyticsConfiguration: row("PUT bucket?analytics", "s3:PutAnalyticsConfiguration"),
  DeleteBucketAnalyticsConfiguration: row(
    "DELETE bucket?analytics",
    "s3:PutAnalyticsConfiguration",
    { notConfigured: { code: "NoSuchConfiguration" } },
  ),
  GetBucketIntelligentTieringConfiguration: row(
    "GET bucket?intelligent-tiering&id",
    "s3:GetIntelligentTieringConfiguration",
    { notConfigured: { code: "NoSuchConfiguration" } },
  ),
  ListBucketIntelligentTieringConfigurations: row(
    "GET bucket?intelligent-tiering",
    "s3:GetIntelligentTieringConfiguration",
    { notConfigured: { document: noneOf("ListBucketIntelligentTieringConfigurationsOutput") } },
  ),
  PutBucketIntelligentTieringConfiguration: row(
    "PUT bucket?intelligent-tiering",
    "s3:PutIntelligentTieringConfiguration",
  ),
  DeleteBucketIntelligentTieringConfiguration: row(
    "DELETE bucket?intelligent-tiering",
    "s3:PutIntelligentTieringConfiguration",
    { notConfigured: { code: "NoSuchConfiguration" } },
  ),
  GetBucketInventoryConfiguration: row("GET bucket?inventory&id", "s3:GetInventoryConfiguration", {
    notConfigured: { code: "NoSuchConfiguration" },
  }),
  ListBucketInventoryConfigurations: row("GET bucket?inventory", "s3:GetInventoryConfiguration", {
    notConfigured: { document: noneOf("ListInventoryConfigurationsResult") },
  }),
  PutBucketInventoryConfiguration: row("PUT bucket?inventory", "s3:PutInventoryConfiguration"),
  DeleteBucketInventoryConfiguration: row(
    "DELETE bucket?inventory",
    "s3:PutInventoryConfiguration",
    { notConfigured: { code: "NoSuchConfiguration" } },
  ),
  GetBucketMetricsConfiguration: row("GET bucket?metrics&id", "s3:GetMetricsConfiguration", {
    notConfigured: { code: "NoSuchConfiguration" },
  }),
  ListBucketMetricsConfigurations: row("GET bucket?metrics", "s3:GetMetricsConfiguration", {
    notConfigured: { document: noneOf("ListMetricsConfigurationsResult") },
  }),
  PutBucketMetricsConfiguration: row("PUT bucket?metrics", "s3:PutMetricsConfiguration"),
  DeleteBucketMetricsConfiguration: row("DELETE bucket?metrics", "s3:PutMetricsConfiguration", {
    notConfigured: { code: "NoSuchConfiguration" },
  }),
  CreateBucketMetadataConfiguration: row(
    "POST bucket?metadataConfiguration",
    "s3:CreateBucketMetadataTableConfiguration",
  ),
  GetBucketMetadataConfiguration: row(
    "GET bucket?metadataConfiguration",
    "s3:GetBucketMetadataTableConfiguration",
  ),
  DeleteBucketMetadataConfiguration: row(
    "DELETE bucket?metadataConfiguration",
    "s3:DeleteBucketMetadataTableConfiguration",
  ),
  CreateBucketMetadataTableConfiguration: row(
    "POST bucket?metadataTable",
    "s3:CreateBucketMetadataTableConfiguration",
  ),
  GetBucketMetadataTableConfiguration: row(
    "GET bucket?metadataTable",
    "s3:GetBucketMetadataTableConfiguration",
  ),
  DeleteBucketMetadataTableConfiguration: row(
    "DELETE bucket?metadataTable",
    "s3:DeleteBucketMetadataTableConfiguration",
  ),
  UpdateBucketMetadataAnnotationTableConfiguration: row(
    "PUT bucket?metadataAnnotationTable",
    "s3:UpdateBucketMetadataAnnotationTableConfiguration",
  ),
  UpdateBucketMetadataInventoryTableConfiguration: row(
    "PUT bucket?metadataInventoryTable",
    "s3:UpdateBucketMetadataInventoryTableConfiguration",
  ),
  UpdateBucketMetadataJournalTableConfiguration: row(
    "PUT bucket?metadataJournalTable",
    "s3:UpdateBucketMetadataJournalTableConfiguration",
  ),

  // Browsers ask before they send; without credentials, so this one row permits itself.
  Preflight: row("OPTIONS object", "none", { tier: 1, bucket: "not-loaded" }),
} satisfies Record<string, Operation>;

export type OperationName = keyof typeof OPERATIONS;

type Selector = `${Operation["method"]} ${Operation["target"]}${"" | `?${string}`}`;

/** `selector` reads as a request does: method, what it is addressed to, and the query parameters that must be there. */
function row(
  selector: Selector,
  action: string,
  more: Omit<Operation, "method" | "target" | "query" | "action"> = {},
): Operation {
  const [place = "", query] = selector.split("?");
  const [method, target] = place.split(" ") as [Operation["method"], Operation["target"]];
  return {
    method,
    target,
    ...(query !== undefined && { query: query.split("&") }),
    action,
    ...more,
  };
}

/** The answer of a listing of configurations: there are none. */
function noneOf(result: string): string {
  return document(result, field("IsTruncated", false));
}
