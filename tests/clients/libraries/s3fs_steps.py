"""s3fs (aiobotocore): files, appends, globs, recursive copies and deletes."""

import sys

import s3fs

endpoint, bucket, style, cert = sys.argv[1:5]
client = {"endpoint_url": endpoint, "region_name": "us-east-1"}
if cert != "-":
    client["verify"] = cert
files = s3fs.S3FileSystem(client_kwargs=client, config_kwargs={"s3": {"addressing_style": style}})
files.mkdir(bucket)
large = bytes(range(256)) * (44 << 10)
for name, body in (("empty", b""), ("dir/one", b"1"), ("dir/large", large)):
    with files.open(f"{bucket}/{name}", "wb", block_size=5 << 20) as out:
        out.write(body)
    assert files.cat(f"{bucket}/{name}") == body, name
with files.open(f"{bucket}/dir/large", "rb") as stream:
    stream.seek(5_242_870)
    assert stream.read(30) == large[5_242_870:5_242_900]
files.invalidate_cache()
assert sorted(files.glob(f"{bucket}/dir/*")) == [f"{bucket}/dir/large", f"{bucket}/dir/one"]
files.copy(f"{bucket}/dir", f"{bucket}/copy", recursive=True)
assert files.du(f"{bucket}/copy") == len(large) + 1
files.rm(bucket, recursive=True)
assert not files.exists(bucket)
