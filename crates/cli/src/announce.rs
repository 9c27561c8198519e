//! What a server says when it is ready; at the first start with the secret, once, and commands to paste.

use pangea_node::server::Announcement;

/// See the module.
pub(crate) fn text(ready: &Announcement) -> String {
    let status = &ready.status;
    let scheme = if ready.fingerprint.is_some() { "https" } else { "http" };
    let endpoint = format!("{scheme}://{}", ready.listen);
    let mut out = format!(
        "pangea {} is ready\n  endpoint    {endpoint}\n  admin       http://{}\n  region      {}\n",
        status.version, ready.admin_listen, status.region
    );
    if let Some(fingerprint) = &ready.fingerprint {
        out += &format!("  certificate SHA-256 {fingerprint}\n");
    }
    let drives = status.drives.len();
    let noun = if drives == 1 { "drive" } else { "drives" };
    out += &format!("  data        {drives} {noun}, code {}: {}\n", status.layout.code, status.survives);
    out += &format!("  master key  {}\n", status.keys.text);
    for why in &status.not_whole_because {
        out += &format!("  attention   {why}\n");
    }
    out += &format!("  access key  {}\n", ready.access_key);
    let Some(secret) = &ready.secret_key else { return out };
    let (id, secret, region) = (&ready.access_key, secret.expose(), &status.region);
    out += &format!("  secret key  {secret}   (shown only now: keep it)\n");
    out += &format!(
        "\nTry it:\n  export AWS_ACCESS_KEY_ID={id} AWS_SECRET_ACCESS_KEY={secret} AWS_DEFAULT_REGION={region}\n  \
         export AWS_ENDPOINT_URL={endpoint}\n  aws --endpoint-url {endpoint} s3 mb s3://first\n  \
         aws --endpoint-url {endpoint} s3 cp /etc/hostname s3://first/hello\n  \
         aws --endpoint-url {endpoint} s3 ls s3://first\n\nKeep a copy of the master key elsewhere: pangea keys \
         backup FILE\n"
    );
    out
}
