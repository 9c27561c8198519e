//! The kept inputs of the S3 face's targets: what clients send, with the byte in front that chooses.

/// Target, name, bytes.
pub(crate) fn inputs() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let texts = [HEADERS.as_slice(), &BODIES, &DOCUMENTS, &SETTINGS].concat();
    texts
        .into_iter()
        .map(|(target, name, mode, text)| {
            let front = mode.map_or(vec![], |mode| vec![mode]);
            (target, name, [&front[..], text.as_bytes()].concat())
        })
        .collect()
}

/// Target, name, the byte in front, the rest.
type Text = (&'static str, &'static str, Option<u8>, &'static str);

const HEADERS: [Text; 6] = [
    (
        "front_sigv4",
        "header",
        Some(0),
        "AWS4-HMAC-SHA256 Credential=ROOTKEY/20300101/us-east-1/s3/aws4_request, \
         SignedHeaders=host;x-amz-content-sha256;x-amz-date, \
         Signature=0000000000000000000000000000000000000000000000000000000000000000",
    ),
    (
        "front_sigv4",
        "query",
        Some(1),
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=ROOTKEY%2F20300101%2Fus-east-1%2Fs3%2Faws4_request\
         &X-Amz-Date=20300101T000000Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host\
         &X-Amz-Signature=0000000000000000000000000000000000000000000000000000000000000000",
    ),
    (
        "front_sigv4",
        "signed_query",
        Some(2),
        "list-type=2&prefix=o&delimiter=%2F&max-keys=7&encoding-type=url&start-after=a",
    ),
    ("front_range", "first_and_last", None, "bytes=0-99\n\"etag\"\nbucket/object\nbytes=1-2"),
    (
        "front_range",
        "suffix",
        None,
        "bytes=-5\nWed, 21 Oct 2015 07:28:00 GMT\n/bucket/ob%6Aect?versionId=null\nbytes=0-0",
    ),
    ("front_range", "open", None, "bytes=4999-\n\nbucket/object?versionId=AAAA\n"),
];

const BODIES: [Text; 6] = [
    ("front_chunked", "unsigned", Some(0), "\u{5}5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"),
    (
        "front_chunked",
        "signed",
        Some(1),
        "\u{1}1;chunk-signature=0000000000000000000000000000000000000000000000000000000000000000\r\nx\r\n\
         0;chunk-signature=0000000000000000000000000000000000000000000000000000000000000000\r\n\r\n",
    ),
    ("front_chunked", "well_signed", Some(2), "\u{1}some bytes that are signed in small chunks"),
    (
        "front_form",
        "unsigned",
        Some(0),
        "--B\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\r\n\
         --B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nx\r\n--B--\r\n",
    ),
    (
        "front_form",
        "policy",
        Some(1),
        r#"{"expiration":"2999-01-01T00:00:00Z","conditions":[{"bucket":"bucket"},["starts-with","$key",""],
["eq","$acl","private"],["content-length-range",0,100]]}"#,
    ),
    (
        "front_form",
        "fields",
        Some(2),
        "--B\r\nContent-Disposition: form-data; name=\"success_action_status\"\r\n\r\n201\r\n",
    ),
];

const DOCUMENTS: [Text; 10] = [
    (
        "front_xml",
        "delete",
        Some(0),
        "<Delete><Quiet>true</Quiet><Object><Key>k</Key><VersionId>null</VersionId></Object></Delete>",
    ),
    (
        "front_xml",
        "tagging",
        Some(1),
        "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>",
    ),
    (
        "front_xml",
        "cors",
        Some(2),
        "<CORSConfiguration><CORSRule><AllowedOrigin>http://*.test</AllowedOrigin><AllowedMethod>GET</AllowedMethod>\
         <AllowedHeader>*</AllowedHeader><MaxAgeSeconds>9</MaxAgeSeconds></CORSRule></CORSConfiguration>",
    ),
    (
        "front_xml",
        "versioning",
        Some(3),
        "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
    ),
    (
        "front_xml",
        "encryption",
        Some(4),
        "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm>\
         </ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>",
    ),
    (
        "front_xml",
        "public_access",
        Some(6),
        "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls></PublicAccessBlockConfiguration>",
    ),
    (
        "front_xml",
        "acl",
        Some(8),
        "<AccessControlPolicy><Owner><ID>x</ID></Owner><AccessControlList><Grant>\
         <Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>",
    ),
    (
        "front_xml",
        "create_bucket",
        Some(10),
        "<CreateBucketConfiguration><LocationConstraint>us-east-1</LocationConstraint></CreateBucketConfiguration>",
    ),
    (
        "front_xml",
        "object_tagging",
        Some(11),
        "<Tagging><TagSet><Tag><Key>&#65;</Key><Value><![CDATA[v]]></Value></Tag></TagSet></Tagging>",
    ),
    (
        "front_xml",
        "complete",
        Some(15),
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"x\"</ETag></Part></CompleteMultipartUpload>",
    ),
];

const SETTINGS: [Text; 1] = [(
    "settings_toml",
    "usual",
    None,
    "drives = [\"/a\", \"/b\"]\nlisten = \"127.0.0.1:9000\"\nscrub_days = 7\ndomain = [\"s3.test\"]\n",
)];
