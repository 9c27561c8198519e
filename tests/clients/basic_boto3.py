"""The first verbs through current boto3 with default settings, byte-exact, and the errors by their names."""

import base64
import hashlib
import io
import random
import zlib

from botocore.exceptions import ClientError

from harness import KIB, MIB, Arguments, boto_list, check, equal, main, random_bytes, read_object, refused, running
from harness import same_bytes

SIZES = [0, 1, 4 * KIB, 4 * KIB + 1, 64 * KIB, 5 * MIB + 1]
LARGE_BYTES = 200_000_000
PART_BYTES = 5 * MIB


def every_size_comes_back_byte_exact(args):
    rng = random.Random(args.seed)
    with running() as server:
        s3 = server.client()
        s3.create_bucket(Bucket="sizes")
        for size in SIZES:
            key, body = f"size/{size}", random_bytes(rng, size)
            put = s3.put_object(Bucket="sizes", Key=key, Body=body)
            equal(put["ETag"], f'"{hashlib.md5(body).hexdigest()}"', f"ETag of {key}")
            head = s3.head_object(Bucket="sizes", Key=key)
            equal((head["ContentLength"], head["ETag"]), (size, put["ETag"]), f"head of {key}")
            same_bytes(read_object(s3, "sizes", key), body, key)
        large = random_bytes(rng, LARGE_BYTES)
        # The transfer manager with its defaults: 8 MiB parts, ten at a time, read back in parallel ranges.
        s3.upload_fileobj(io.BytesIO(large), "sizes", "large")
        back = io.BytesIO()
        s3.download_fileobj("sizes", "large", back)
        same_bytes(back.getvalue(), large, "200 MB through the transfer manager")
        check(hashlib.sha256(read_object(s3, "sizes", "large")).digest() == hashlib.sha256(large).digest(), "one GET")
        server.stop()
        server.start()
        s3 = server.client()
        same_bytes(read_object(s3, "sizes", "large"), large, "200 MB after a restart")
        equal(read_object(s3, "sizes", "size/0"), b"", "the empty object after a restart")


def keys_of_any_shape_are_kept(args):
    rng = random.Random(args.seed)
    keys = ["a", "a/b", "a//b", "a/./b", "../up", "/lead", "trail/", "space and+plus", "ümläut/日本", "%41", "x" * 1024]
    keys += ["new\tline", "quote\"'<&>", "*?[]", "~tilde", "a\\b"]
    with running() as server:
        s3 = server.client()
        s3.create_bucket(Bucket="shapes")
        bodies = {key: random_bytes(rng, 100) for key in keys}
        for key, body in bodies.items():
            s3.put_object(Bucket="shapes", Key=key, Body=body)
        for key, body in bodies.items():
            same_bytes(read_object(s3, "shapes", key), body, f"key {key!r}")
        equal(boto_list(s3, "shapes"), sorted(keys, key=lambda key: key.encode()), "listing in order of bytes")
        with refused(("KeyTooLongError", "InvalidArgument"), 400, "a key of 1025 bytes"):
            s3.put_object(Bucket="shapes", Key="x" * 1025, Body=b"")


def buckets_are_made_listed_and_removed(_args):
    with running() as server:
        s3 = server.client()
        for name in ["bucket-b", "bucket-a", "bucket.c"]:
            s3.create_bucket(Bucket=name)
        equal([entry["Name"] for entry in s3.list_buckets()["Buckets"]], ["bucket-a", "bucket-b", "bucket.c"], "list")
        s3.head_bucket(Bucket="bucket-a")
        equal(s3.get_bucket_location(Bucket="bucket-a")["LocationConstraint"], None, "location of us-east-1")
        with refused("404", 404, "head of no bucket"):
            s3.head_bucket(Bucket="bucket-none")
        for name in ["UPPER", "ab", "under_score", "192.168.0.1"]:
            with refused("InvalidBucketName", 400, f"bucket {name!r}"):
                s3.create_bucket(Bucket=name)
        s3.put_object(Bucket="bucket-a", Key="k", Body=b"x")
        with refused("BucketNotEmpty", 409, "removing a bucket with an object"):
            s3.delete_bucket(Bucket="bucket-a")
        s3.delete_object(Bucket="bucket-a", Key="k")
        s3.delete_bucket(Bucket="bucket-a")
        with refused("NoSuchBucket", 404, "writing into a removed bucket"):
            s3.put_object(Bucket="bucket-a", Key="k", Body=b"x")
        s3.create_bucket(Bucket="bucket-a")
        equal(boto_list(s3, "bucket-a"), [], "a bucket made again is empty")
        try:
            s3.create_bucket(Bucket="bucket-b")
        except ClientError as error:
            # Outside us-east-1 S3 refuses the owner too; both are S3.
            equal(error.response["Error"]["Code"], "BucketAlreadyOwnedByYou", "making a bucket of one's own again")


def listing_pages_prefixes_and_delimiters(_args):
    keys = [f"dir{d}/file{f:03}" for d in range(3) for f in range(20)] + ["top1", "top2", "dir1"]
    with running() as server:
        s3 = server.client()
        s3.create_bucket(Bucket="lists")
        for key in keys:
            s3.put_object(Bucket="lists", Key=key, Body=key.encode())
        for version in ["list_objects", "list_objects_v2"]:
            for page in [1, 7, 1000]:
                pager = s3.get_paginator(version).paginate(Bucket="lists", PaginationConfig={"PageSize": page})
                got = [entry["Key"] for part in pager for entry in part.get("Contents", [])]
                equal(got, sorted(keys), f"{version} by {page}")
            call = getattr(s3, version)
            tops = call(Bucket="lists", Delimiter="/")
            equal([p["Prefix"] for p in tops["CommonPrefixes"]], ["dir0/", "dir1/", "dir2/"], f"{version} prefixes")
            equal([e["Key"] for e in tops["Contents"]], ["dir1", "top1", "top2"], f"{version} beside the prefixes")
            below = call(Bucket="lists", Prefix="dir2/", Delimiter="/")
            equal(len(below["Contents"]), 20, f"{version} below a prefix")
            equal(below["Contents"][0]["Size"], len("dir2/file000"), f"{version} size")
            first = call(Bucket="lists", Delimiter="/", MaxKeys=2)
            check(first["IsTruncated"], f"{version}: two of six entries are not all")
            pager = s3.get_paginator(version).paginate(
                Bucket="lists", Delimiter="/", PaginationConfig={"PageSize": 2}
            )
            pages = list(pager)
            prefixes = [p["Prefix"] for page in pages for p in page.get("CommonPrefixes", [])]
            equal(prefixes, ["dir0/", "dir1/", "dir2/"], f"{version} prefixes over pages, each once")
        after = s3.list_objects_v2(Bucket="lists", StartAfter="dir2/file018")
        equal([e["Key"] for e in after["Contents"]], ["dir2/file019", "top1", "top2"], "StartAfter")
        equal(after["KeyCount"], 3, "KeyCount")
        equal(s3.list_objects_v2(Bucket="lists", Prefix="none").get("Contents"), None, "a prefix of nothing")
        equal(s3.list_objects_v2(Bucket="lists", MaxKeys=0)["KeyCount"], 0, "MaxKeys=0")
        with refused("NoSuchBucket", 404, "listing no bucket"):
            s3.list_objects_v2(Bucket="lists-none")


def ranges_are_cut_exactly(args):
    body = random_bytes(random.Random(args.seed), 5 * MIB + 1)
    last = len(body) - 1
    with running() as server:
        s3 = server.client()
        s3.create_bucket(Bucket="ranges")
        s3.put_object(Bucket="ranges", Key="k", Body=body)
        s3.put_object(Bucket="ranges", Key="empty", Body=b"")
        s3.put_object(Bucket="ranges", Key="inline", Body=body[:1000])
        rng = random.Random(args.seed)
        cuts = [(0, 0), (0, last), (last, last), (65535, 65536), (4 * KIB, 8 * KIB - 1), (MIB - 1, 4 * MIB)]
        cuts += [tuple(sorted((rng.randrange(len(body)), rng.randrange(len(body))))) for _ in range(30)]
        for start, end in cuts:
            got = s3.get_object(Bucket="ranges", Key="k", Range=f"bytes={start}-{end}")
            same_bytes(got["Body"].read(), body[start : end + 1], f"bytes {start}-{end}")
            equal(got["ContentRange"], f"bytes {start}-{end}/{len(body)}", "ContentRange")
            equal(got["ResponseMetadata"]["HTTPStatusCode"], 206, "status of a range")
        for text, wanted in [
            (f"bytes={last - 9}-", body[-10:]),
            ("bytes=-10", body[-10:]),
            (f"bytes={last}-{last + 1000}", body[-1:]),
            (f"bytes=-{len(body) + 1000}", body),
        ]:
            same_bytes(read_object(s3, "ranges", "k", Range=text), wanted, text)
        same_bytes(read_object(s3, "ranges", "inline", Range="bytes=10-19"), body[10:20], "a range of an inline object")
        for key, text in [("k", f"bytes={len(body)}-"), ("empty", "bytes=0-0"), ("inline", "bytes=1000-")]:
            with refused("InvalidRange", 416, f"{text} of {key}"):
                s3.get_object(Bucket="ranges", Key=key, Range=text)


def conditions_are_kept(_args):
    with running() as server:
        s3 = server.client()
        s3.create_bucket(Bucket="conditions")

        def put(key="k", body=b"one", **more):
            return s3.put_object(Bucket="conditions", Key=key, Body=body, **more)

        def get(**more):
            return s3.get_object(Bucket="conditions", Key="k", **more)

        etag = put(IfNoneMatch="*")["ETag"]
        modified = get()["LastModified"]
        wrong = '"0123456789abcdef0123456789abcdef"'
        with refused("PreconditionFailed", 412, "If-None-Match: * on an existing key"):
            put(body=b"two", IfNoneMatch="*")
        with refused("PreconditionFailed", 412, "If-Match with another ETag"):
            put(body=b"two", IfMatch=wrong)
        with refused("NoSuchKey", 404, "If-Match on a missing key"):
            put(key="missing", IfMatch=etag)
        equal(get()["Body"].read(), b"one", "nothing of the refused writes is there")
        second = put(body=b"two", IfMatch=etag)["ETag"]
        equal(get(IfMatch=second)["Body"].read(), b"two", "If-Match on a read")
        equal(get(IfNoneMatch=etag)["Body"].read(), b"two", "If-None-Match with an old ETag")
        equal(get(IfModifiedSince=modified.replace(year=2001))["Body"].read(), b"two", "If-Modified-Since long ago")
        equal(get(IfUnmodifiedSince=modified.replace(year=2100))["Body"].read(), b"two", "If-Unmodified-Since")
        with refused("PreconditionFailed", 412, "reading with an old ETag"):
            get(IfMatch=etag)
        with refused("PreconditionFailed", 412, "If-Unmodified-Since long ago"):
            get(IfUnmodifiedSince=modified.replace(year=2001))
        with refused("304", 304, "If-None-Match with the ETag there is"):
            get(IfNoneMatch=second)
        with refused("412", 412, "head with an old ETag"):
            s3.head_object(Bucket="conditions", Key="k", IfMatch=etag)
        source = {"Bucket": "conditions", "Key": "k"}
        with refused("PreconditionFailed", 412, "a copy with an old ETag of its source"):
            s3.copy_object(Bucket="conditions", Key="copy", CopySource=source, CopySourceIfMatch=etag)
        s3.copy_object(Bucket="conditions", Key="copy", CopySource=source, IfNoneMatch="*")
        with refused("PreconditionFailed", 412, "a copy onto an existing key"):
            s3.copy_object(Bucket="conditions", Key="copy", CopySource=source, IfNoneMatch="*")
        with refused("PreconditionFailed", 412, "a delete with an old ETag"):
            s3.delete_object(Bucket="conditions", Key="k", IfMatch=etag)
        s3.delete_object(Bucket="conditions", Key="k", IfMatch=second)
        with refused("NoSuchKey", 404, "reading what was deleted"):
            get()


def copies_carry_bytes_and_metadata(args):
    rng = random.Random(args.seed)
    with running() as server:
        s3 = server.client()
        for bucket in ["copy-from", "copy-to"]:
            s3.create_bucket(Bucket=bucket)
        for size in [0, 100, 3 * MIB]:
            body = random_bytes(rng, size)
            key = f"a b/ü+{size}"
            s3.put_object(Bucket="copy-from", Key=key, Body=body, ContentType="text/x-a", Metadata={"note": "first"})
            source = {"Bucket": "copy-from", "Key": key}
            s3.copy_object(Bucket="copy-to", Key="kept", CopySource=source)
            kept = s3.get_object(Bucket="copy-to", Key="kept")
            same_bytes(kept["Body"].read(), body, "a copy")
            equal((kept["ContentType"], kept["Metadata"]), ("text/x-a", {"note": "first"}), "metadata of a copy")
            replaced = {"MetadataDirective": "REPLACE", "Metadata": {"note": "second"}, "ContentType": "text/x-b"}
            s3.copy_object(Bucket="copy-from", Key=key, CopySource=source, **replaced)
            head = s3.head_object(Bucket="copy-from", Key=key)
            equal((head["ContentType"], head["Metadata"]), ("text/x-b", {"note": "second"}), "a copy onto itself")
            s3.delete_object(Bucket="copy-from", Key=key)
            same_bytes(read_object(s3, "copy-to", "kept"), body, "a copy outlives its source")
        with refused("NoSuchKey", 404, "a copy of nothing"):
            s3.copy_object(Bucket="copy-to", Key="x", CopySource={"Bucket": "copy-from", "Key": "none"})
        with refused("InvalidRequest", 400, "a copy onto itself that changes nothing"):
            s3.copy_object(Bucket="copy-to", Key="kept", CopySource={"Bucket": "copy-to", "Key": "kept"})


def deletes_are_idempotent_and_come_in_batches(_args):
    with running() as server:
        s3 = server.client()
        s3.create_bucket(Bucket="deletes")
        keys = [f"k/{number:04} &<ü" for number in range(1000)]
        for key in keys[:50]:
            s3.put_object(Bucket="deletes", Key=key, Body=b"x")
        s3.delete_object(Bucket="deletes", Key="never-there")
        done = s3.delete_objects(Bucket="deletes", Delete={"Objects": [{"Key": key} for key in keys]})
        equal(sorted(entry["Key"] for entry in done["Deleted"]), keys, "each of 1000 keys is reported, there or not")
        equal(done.get("Errors"), None, "errors of the batch")
        equal(boto_list(s3, "deletes"), [], "what is left")
        s3.put_object(Bucket="deletes", Key="q", Body=b"x")
        quiet = s3.delete_objects(Bucket="deletes", Delete={"Objects": [{"Key": "q"}], "Quiet": True})
        equal(quiet.get("Deleted"), None, "a quiet batch")
        with refused("MalformedXML", 400, "a batch of 1001"):
            s3.delete_objects(Bucket="deletes", Delete={"Objects": [{"Key": str(n)} for n in range(1001)]})


def multipart_uploads_run_their_whole_life(args):
    rng = random.Random(args.seed)
    parts = [random_bytes(rng, size) for size in (PART_BYTES, PART_BYTES + 1, 1)]
    with running() as server:
        s3 = server.client()
        s3.create_bucket(Bucket="multi")
        at = {"Bucket": "multi", "Key": "big"}
        made = s3.create_multipart_upload(**at, ContentType="text/x-m", Metadata={"note": "kept"})
        up = {**at, "UploadId": made["UploadId"]}
        # Out of order, the second one written twice: the last write of a number counts.
        s3.upload_part(**up, PartNumber=9, Body=b"replaced")
        sent = {n: s3.upload_part(**up, PartNumber=n, Body=body)["ETag"] for n, body in zip([9, 2, 1], parts[::-1])}
        listed = s3.list_parts(**up)
        got = [(part["PartNumber"], part["Size"], part["ETag"]) for part in listed["Parts"]]
        equal(got, [(n, len(b), sent[n]) for n, b in zip([1, 2, 9], parts)], "the parts")
        page = s3.list_parts(**up, MaxParts=2)
        check(page["IsTruncated"] and page["NextPartNumberMarker"] == 2, f"two of three parts: {page}")
        uploads = s3.list_multipart_uploads(Bucket="multi")["Uploads"]
        equal([(u["Key"], u["UploadId"]) for u in uploads], [("big", up["UploadId"])], "the uploads")
        equal(boto_list(s3, "multi"), [], "an upload is no object yet")
        chosen = [{"PartNumber": n, "ETag": sent[n]} for n in (1, 2, 9)]
        with refused("InvalidPartOrder", 400, "parts out of order"):
            s3.complete_multipart_upload(**up, MultipartUpload={"Parts": chosen[::-1]})
        with refused("InvalidPart", 400, "a part never sent"):
            s3.complete_multipart_upload(**up, MultipartUpload={"Parts": [{"PartNumber": 5, "ETag": sent[1]}]})
        done = s3.complete_multipart_upload(**up, MultipartUpload={"Parts": chosen})
        digest = hashlib.md5(b"".join(hashlib.md5(body).digest() for body in parts)).hexdigest()
        equal(done["ETag"], f'"{digest}-3"', "ETag of the whole")
        whole = s3.get_object(**at)
        same_bytes(whole["Body"].read(), b"".join(parts), "the whole")
        equal((whole["ContentType"], whole["Metadata"]), ("text/x-m", {"note": "kept"}), "metadata of the whole")
        cut = read_object(s3, "multi", "big", Range=f"bytes={PART_BYTES - 5}-{PART_BYTES + 5}")
        same_bytes(cut, b"".join(parts)[PART_BYTES - 5 : PART_BYTES + 6], "a range over the seam of two parts")
        equal(s3.list_multipart_uploads(Bucket="multi").get("Uploads"), None, "uploads afterwards")


def multipart_uploads_end_in_other_ways(args):
    body = random_bytes(random.Random(args.seed), 6 * MIB)
    with running() as server:
        s3 = server.client()
        s3.create_bucket(Bucket="ends")

        def start(key):
            made = s3.create_multipart_upload(Bucket="ends", Key=key)
            return {"Bucket": "ends", "Key": key, "UploadId": made["UploadId"]}

        aborted = start("aborted")
        s3.upload_part(**aborted, PartNumber=1, Body=body)
        s3.abort_multipart_upload(**aborted)
        with refused("NoSuchUpload", 404, "a part of an aborted upload"):
            s3.upload_part(**aborted, PartNumber=2, Body=b"x")
        with refused("NoSuchUpload", 404, "the parts of an aborted upload"):
            s3.list_parts(**aborted)
        small = start("small")
        etags = [s3.upload_part(**small, PartNumber=n, Body=b"x")["ETag"] for n in (1, 2)]
        both = [{"PartNumber": n, "ETag": etag} for n, etag in zip((1, 2), etags)]
        with refused("EntityTooSmall", 400, "a part under 5 MiB that is not the last"):
            s3.complete_multipart_upload(**small, MultipartUpload={"Parts": both})
        s3.complete_multipart_upload(**small, MultipartUpload={"Parts": both[:1]})
        equal(read_object(s3, "ends", "small"), b"x", "one small part is enough, the other falls away")
        s3.put_object(Bucket="ends", Key="source", Body=body)
        copied = start("copied")
        cut = s3.upload_part_copy(
            **copied, PartNumber=1, CopySource={"Bucket": "ends", "Key": "source"}, CopySourceRange="bytes=1-5242880"
        )
        one = [{"PartNumber": 1, "ETag": cut["CopyPartResult"]["ETag"]}]
        s3.complete_multipart_upload(**copied, MultipartUpload={"Parts": one}, IfNoneMatch="*")
        same_bytes(read_object(s3, "ends", "copied"), body[1:5242881], "a part copied from a range")
        racing = start("copied")
        tag = s3.upload_part(**racing, PartNumber=1, Body=b"x")["ETag"]
        with refused("PreconditionFailed", 412, "completing onto an existing key with If-None-Match: *"):
            lost = {"Parts": [{"PartNumber": 1, "ETag": tag}]}
            s3.complete_multipart_upload(**racing, MultipartUpload=lost, IfNoneMatch="*")
        same_bytes(read_object(s3, "ends", "copied"), body[1:5242881], "the loser changed nothing")


def metadata_and_checksums_are_kept(args):
    body = random_bytes(random.Random(args.seed), 100 * KIB)

    def b64(raw):
        return base64.b64encode(raw).decode()

    headers = {
        "ContentType": "text/plain; charset=utf-8",
        "ContentEncoding": "identity",
        "ContentLanguage": "de",
        "ContentDisposition": 'attachment; filename="a b.txt"',
        "CacheControl": "max-age=60",
    }
    with running() as server:
        s3 = server.client()
        s3.create_bucket(Bucket="meta")
        s3.put_object(Bucket="meta", Key="k", Body=body, Metadata={"one": "1", "two-b": "x y"}, **headers)
        head = s3.head_object(Bucket="meta", Key="k")
        equal(head["Metadata"], {"one": "1", "two-b": "x y"}, "user metadata")
        equal({name: head[name] for name in headers}, headers, "headers of the object")
        checksums = {
            "CRC32": b64(zlib.crc32(body).to_bytes(4, "big")),
            "SHA1": b64(hashlib.sha1(body).digest()),
            "SHA256": b64(hashlib.sha256(body).digest()),
        }
        for name, value in checksums.items():
            field = f"Checksum{name}"
            for way in [{"ChecksumAlgorithm": name}, {field: value}]:
                put = s3.put_object(Bucket="meta", Key=name, Body=body, **way)
                equal(put.get(field), value, f"{field} in the answer to a PUT with {list(way)}")
            head = s3.head_object(Bucket="meta", Key=name, ChecksumMode="ENABLED")
            equal(head.get(field), value, f"{field} of the object")
            wrong = b64(bytes(len(base64.b64decode(value))))
            with refused("BadDigest", 400, f"a wrong {field}"):
                s3.put_object(Bucket="meta", Key="bad", Body=body, **{field: wrong})
        with refused("BadDigest", 400, "a wrong Content-MD5"):
            s3.put_object(Bucket="meta", Key="bad", Body=body, ContentMD5=b64(bytes(16)))
        with refused("404", 404, "nothing of the refused bodies is there"):
            s3.head_object(Bucket="meta", Key="bad")
        with refused("MetadataTooLarge", 400, "more than 2 KiB of user metadata"):
            s3.put_object(Bucket="meta", Key="bad", Body=b"", Metadata={"m": "x" * 2049})


def errors_have_their_names(_args):
    with running() as server:
        s3 = server.client()
        s3.create_bucket(Bucket="errors")
        for what, client, code in [
            ("a wrong secret", server.client(secret_key="wrong" * 8), "SignatureDoesNotMatch"),
            ("an unknown access key", server.client(access_key="AKIDUNKNOWN000000000"), "InvalidAccessKeyId"),
        ]:
            with refused(code, 403, what):
                client.list_buckets()
            with refused(code, 403, f"{what}, bucket that is not there"):
                client.list_objects_v2(Bucket="errors-none")
        with refused("NoSuchKey", 404, "reading no key"):
            s3.get_object(Bucket="errors", Key="none")
        with refused("404", 404, "head of no key"):
            s3.head_object(Bucket="errors", Key="none")
        with refused("NoSuchBucket", 404, "reading from no bucket"):
            s3.get_object(Bucket="errors-none", Key="none")
        upload = {"Bucket": "errors", "Key": "k", "UploadId": "none"}
        with refused("NoSuchUpload", 404, "a part of no upload"):
            s3.upload_part(**upload, PartNumber=1, Body=b"x")
        with refused("NotImplemented", 501, "a verb that is not there yet"):
            s3.put_bucket_accelerate_configuration(Bucket="errors", AccelerateConfiguration={"Status": "Enabled"})


CHECKS = [
    every_size_comes_back_byte_exact,
    keys_of_any_shape_are_kept,
    buckets_are_made_listed_and_removed,
    listing_pages_prefixes_and_delimiters,
    ranges_are_cut_exactly,
    conditions_are_kept,
    copies_carry_bytes_and_metadata,
    deletes_are_idempotent_and_come_in_batches,
    multipart_uploads_run_their_whole_life,
    multipart_uploads_end_in_other_ways,
    metadata_and_checksums_are_kept,
    errors_have_their_names,
]

if __name__ == "__main__":
    main(CHECKS, Arguments(__doc__, seconds=330))
