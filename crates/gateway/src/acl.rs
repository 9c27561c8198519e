//! Access control lists, as S3 has them where the bucket's owner is enforced: one grant, to the owner, of everything.

use s3s::dto::{AccessControlPolicy, Grant, Grantee, Permission, Type};
use s3s::{S3Result, s3_error};

/// The one grant that there is.
pub(crate) fn owner_grant(owner: &str) -> Grant {
    Grant {
        grantee: Some(Grantee {
            display_name: Some(owner.to_owned()),
            email_address: None,
            id: Some(owner.to_owned()),
            type_: Type::from_static(Type::CANONICAL_USER),
            uri: None,
        }),
        permission: Some(Permission::from_static(Permission::FULL_CONTROL)),
    }
}

/// Refuses a document that says anything else.
pub(crate) fn check_document(policy: Option<&AccessControlPolicy>, owner: &str) -> S3Result<()> {
    let missing = || s3_error!(MalformedXML, "Send x-amz-acl or an AccessControlPolicy.");
    let grants = policy.and_then(|policy| policy.grants.as_deref()).ok_or_else(missing)?;
    let is_owners = |grant: &Grant| {
        let all = grant.permission.as_ref().map(Permission::as_str) == Some(Permission::FULL_CONTROL);
        all && grant.grantee.as_ref().and_then(|grantee| grantee.id.as_deref()) == Some(owner)
    };
    if grants.len() == 1 && grants.iter().all(is_owners) {
        return Ok(());
    }
    Err(s3_error!(
        AccessControlListNotSupported,
        "The bucket does not allow ACLs: its owner has full control, and nobody else can be named."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owners_own_grant_is_taken() {
        let policy = |grants: Option<Vec<Grant>>| AccessControlPolicy { grants, owner: None };
        let read = Grant { permission: Some(Permission::from_static(Permission::READ)), ..owner_grant("me") };
        let cases = [
            (Some(policy(Some(vec![owner_grant("me")]))), "ok"),
            (Some(policy(Some(vec![owner_grant("you")]))), "AccessControlListNotSupported"),
            (Some(policy(Some(vec![read]))), "AccessControlListNotSupported"),
            (Some(policy(Some(vec![]))), "AccessControlListNotSupported"),
            (
                Some(policy(Some(vec![owner_grant("me"), owner_grant("you")]))),
                "AccessControlListNotSupported",
            ),
            (Some(policy(None)), "MalformedXML"),
            (None, "MalformedXML"),
        ];
        for (policy, expected) in cases {
            let told = check_document(policy.as_ref(), "me")
                .map_or_else(|error| error.code().as_str().to_owned(), |()| "ok".to_owned());
            assert_eq!(told, expected, "{policy:?}");
        }
    }
}
