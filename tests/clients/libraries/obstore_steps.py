"""obstore (object_store in Rust): conditional creation, ranges, multipart, bulk delete with two checksums."""

import os
import sys

import obstore
from obstore.store import S3Store

endpoint, bucket, style, cert = sys.argv[1:5]
virtual = style == "virtual"
scheme, host = endpoint.split("://")
options = {"allow_http": True, "allow_invalid_certificates": cert != "-"}
if virtual:
    options["proxy_url"] = os.environ["http_proxy"]
# It makes no buckets; any signer does.
import boto3  # noqa: E402
from botocore.config import Config  # noqa: E402

maker = boto3.client("s3", endpoint_url=endpoint, config=Config(s3={"addressing_style": "path"}))
maker.create_bucket(Bucket=bucket)
store = S3Store(
    bucket,
    endpoint=f"{scheme}://{bucket}.{host}" if virtual else endpoint,
    region="us-east-1",
    access_key_id=os.environ["AWS_ACCESS_KEY_ID"],
    secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
    virtual_hosted_style_request=virtual,
    client_options=options,
)
large = bytes(range(256)) * (44 << 10)
for name, body in (("empty", b""), ("dir/one", b"1"), ("dir/large", large)):
    obstore.put(store, name, body, mode="create", use_multipart=False)
    assert bytes(obstore.get(store, name).bytes()) == body, name
try:
    obstore.put(store, "dir/one", b"2", mode="create", use_multipart=False)
    raise SystemExit("created twice")
except obstore.exceptions.AlreadyExistsError:
    pass
obstore.put(store, "parts", large, chunk_size=5 << 20)
assert bytes(obstore.get_range(store, "parts", start=5_242_870, end=5_242_900)) == large[5_242_870:5_242_900]
obstore.copy(store, "parts", "copy")
names = sorted(entry["path"] for page in obstore.list(store) for entry in page)
assert names == ["copy", "dir/large", "dir/one", "empty", "parts"], names
obstore.delete(store, names)
assert not [entry for page in obstore.list(store) for entry in page]
maker.delete_bucket(Bucket=bucket)
