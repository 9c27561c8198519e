//! Fields: how the plain types inside rows and commands are written and read.
//!
//! Owns the private trait [`Field`] and the two macros that give it to structs (fields in the order written) and to enums
//! (a tag byte, then the variant's fields). All integers little-endian; a list is a `u32` count and its items; an option is
//! one byte 0 or 1. Reading is strict and allocates no more than a small multiple of its input.
//! `row_codec` and `command_codec` are the only users.

use crate::chunk::Code;
use crate::codec::{Malformed, Put, Reader};
use crate::id::{BlobId, BucketId, ChunkId, DriveId, LeaseId, RequestId, UploadId, VersionId};
use crate::keys::{KeyRef, WrappedKey};

/// Something with a fixed place in an encoding.
pub(super) trait Field: Sized {
    /// Appends it.
    fn put(&self, out: &mut Vec<u8>);
    /// Reads it.
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed>;

    /// Appends a list of it.
    fn put_list(items: &[Self], out: &mut Vec<u8>) {
        out.put_u32(u32::try_from(items.len()).expect("no list reaches 2^32 items"));
        items.iter().for_each(|item| item.put(out));
    }

    /// Reads a list of it; every item takes at least one byte, so the count is bounded by what is there.
    fn take_list(r: &mut Reader<'_>) -> Result<Vec<Self>, Malformed> {
        let n = r.count(1)?;
        (0..n).map(|_| Self::take(r)).collect()
    }
}

/// Gives [`Field`] to a struct: its fields, in this order.
macro_rules! record {
    ($type:ty { $($field:ident),+ $(,)? }) => {
        impl Field for $type {
            fn put(&self, out: &mut Vec<u8>) {
                let Self { $($field),+ } = self;
                $($field.put(out);)+
            }
            fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
                Ok(Self { $($field: Field::take(r)?),+ })
            }
        }
    };
}

/// Gives [`Field`] to an enum: a tag byte, then the variant's fields in this order.
macro_rules! tagged {
    ($type:ty {
        $($tag:literal => $variant:ident $(($($place:ident),+))? $({ $($field:ident),+ })?),+ $(,)?
    }) => {
        impl Field for $type {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant $(($($place),+))? $({ $($field),+ })? => {
                        out.put_u8($tag);
                        $($($place.put(out);)+)?
                        $($($field.put(out);)+)?
                    })+
                }
            }
            fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
                match r.u8()? {
                    $($tag => {
                        $($(let $place = Field::take(r)?;)+)?
                        $($(let $field = Field::take(r)?;)+)?
                        Ok(Self::$variant $(($($place),+))? $({ $($field),+ })?)
                    })+
                    _ => Err(r.malformed()),
                }
            }
        }
    };
}

pub(super) use {record, tagged};

macro_rules! integer {
    ($type:ty, $put:ident, $take:ident) => {
        impl Field for $type {
            fn put(&self, out: &mut Vec<u8>) {
                out.$put(*self);
            }
            fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
                r.$take()
            }
        }
    };
}

integer!(u16, put_u16, u16);
integer!(u32, put_u32, u32);
integer!(u64, put_u64, u64);

impl Field for u8 {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u8(*self);
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        r.u8()
    }
    fn put_list(items: &[Self], out: &mut Vec<u8>) {
        out.put_bytes(items);
    }
    fn take_list(r: &mut Reader<'_>) -> Result<Vec<Self>, Malformed> {
        Ok(r.bytes()?.to_vec())
    }
}

impl Field for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u8(u8::from(*self));
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        r.bool()
    }
}

impl Field for () {
    fn put(&self, _out: &mut Vec<u8>) {}
    fn take(_r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(())
    }
    fn take_list(r: &mut Reader<'_>) -> Result<Vec<Self>, Malformed> {
        Err(r.malformed()) // a list of nothing has no bounded count
    }
}

impl Field for String {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_bytes(self.as_bytes());
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(r.str()?.to_owned())
    }
}

impl<const N: usize> Field for [u8; N] {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_raw(self);
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        r.array()
    }
}

impl<T: Field> Field for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        T::put_list(self, out);
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        T::take_list(r)
    }
}

impl<T: Field> Field for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        if r.bool()? { Ok(Some(T::take(r)?)) } else { Ok(None) }
    }
}

impl<A: Field, B: Field> Field for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok((A::take(r)?, B::take(r)?))
    }
}

impl<A: Field, B: Field, C: Field> Field for (A, B, C) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
        self.2.put(out);
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok((A::take(r)?, B::take(r)?, C::take(r)?))
    }
}

macro_rules! id {
    ($($type:ident),+) => {
        $(impl Field for $type {
            fn put(&self, out: &mut Vec<u8>) {
                out.put_raw(&self.0);
            }
            fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
                Ok(Self(r.array()?))
            }
        })+
    };
}

id!(BlobId, BucketId, DriveId, LeaseId, RequestId, UploadId, VersionId);
record!(ChunkId { blob, chunk });

impl Field for Code {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u8(self.k());
        out.put_u8(self.m());
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Code::new(r.u8()?, r.u8()?).ok_or(r.malformed())
    }
}

impl Field for KeyRef {
    fn put(&self, out: &mut Vec<u8>) {
        self.encode(out);
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Self::decode(r)
    }
}

impl Field for WrappedKey {
    fn put(&self, out: &mut Vec<u8>) {
        self.encode(out);
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Self::decode(r)
    }
}
