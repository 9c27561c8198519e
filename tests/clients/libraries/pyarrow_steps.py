"""pyarrow's S3 filesystem: always multipart, trailing CRC64NVME even over plain http, ranges for Parquet."""

import os
import sys

import pyarrow
import pyarrow.parquet
from pyarrow import fs

endpoint, bucket, style, cert = sys.argv[1:5]
scheme, host = endpoint.split("://")
more = {} if cert == "-" else {"tls_ca_file_path": cert}
if style == "virtual":
    more["proxy_options"] = os.environ["http_proxy"]
s3 = fs.S3FileSystem(
    endpoint_override=host,
    scheme=scheme,
    region="us-east-1",
    force_virtual_addressing=style == "virtual",
    allow_bucket_creation=True,
    allow_bucket_deletion=True,
    **more,
)
s3.create_dir(bucket)
for name, size in (("empty", 0), ("dir/one", 1), ("dir/large", (11 << 20) + 3)):
    body = bytes(n * 7 % 251 for n in range(min(size, 5000))) * (size // 5000 + 1)
    body = body[:size]
    with s3.open_output_stream(f"{bucket}/{name}") as out:
        out.write(body)
    with s3.open_input_stream(f"{bucket}/{name}") as stream:
        assert stream.read() == body, name
table = pyarrow.table({"n": list(range(100_000)), "text": [str(n) for n in range(100_000)]})
pyarrow.parquet.write_table(table, f"{bucket}/t.parquet", filesystem=s3)
assert pyarrow.parquet.read_table(f"{bucket}/t.parquet", filesystem=s3, columns=["n"])["n"].to_pylist()[-1] == 99_999
found = s3.get_file_info(fs.FileSelector(bucket, recursive=True))
assert sorted(info.base_name for info in found if info.is_file) == ["empty", "large", "one", "t.parquet"], found
s3.delete_dir(bucket)
