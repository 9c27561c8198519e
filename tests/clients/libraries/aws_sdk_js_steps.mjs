// The AWS SDK for JavaScript: default checksums, streams in parts, presigned URLs, pages of keys.
import assert from "node:assert";
import { Readable } from "node:stream";
import * as s3 from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";

const [endpoint, Bucket, style] = process.argv.slice(2);
const client = new s3.S3Client({ endpoint, region: "us-east-1", forcePathStyle: style === "path" });
const send = (Command, input) => client.send(new Command({ Bucket, ...input }));
const read = async (Key) => Buffer.from(await (await send(s3.GetObjectCommand, { Key })).Body.transformToByteArray());

await send(s3.CreateBucketCommand, {});
const large = Buffer.alloc(11 * 1024 * 1024 + 3, "0123456789abcdef");
for (const [Key, Body] of [["empty", Buffer.alloc(0)], ["dir/one", Buffer.from("1")], ["dir/ü b", Buffer.from("2")]]) {
  await send(s3.PutObjectCommand, { Key, Body });
  assert.deepStrictEqual(await read(Key), Body, Key);
}
const stream = Readable.from([large.subarray(0, 100), large.subarray(100)]);
await new Upload({ client, params: { Bucket, Key: "large", Body: stream } }).done();
assert.ok((await read("large")).equals(large));
const url = await getSignedUrl(client, new s3.GetObjectCommand({ Bucket, Key: "large" }), { expiresIn: 60 });
const ranged = await fetch(url, { headers: { range: "bytes=5242870-5242890" } });
assert.strictEqual(ranged.status, 206);
assert.ok(Buffer.from(await ranged.arrayBuffer()).equals(large.subarray(5242870, 5242891)));
const keys = [];
for await (const page of s3.paginateListObjectsV2({ client, pageSize: 2 }, { Bucket })) {
  keys.push(...page.Contents.map((object) => object.Key));
}
assert.deepStrictEqual(keys, ["dir/one", "dir/ü b", "empty", "large"]);
const deleted = await send(s3.DeleteObjectsCommand, { Delete: { Objects: keys.map((Key) => ({ Key })) } });
assert.strictEqual(deleted.Deleted.length, keys.length);
await send(s3.DeleteBucketCommand, {});
