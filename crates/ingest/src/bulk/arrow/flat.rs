//! FlatBuffers (flatbuffers.dev), as far as Arrow's messages need them: tables, vectors and texts,
//! read in place. Nothing is believed: every place is looked for within its message.

/// What is wrong, and at which byte of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) text: &'static str,
}

const CUT: &str = "the metadata leads out of its message: expected a FlatBuffer of Arrow";

/// The metadata of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Metadata<'a> {
    bytes: &'a [u8],
    /// Where it begins in the body.
    at: usize,
}

impl<'a> Metadata<'a> {
    pub(super) const fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Its table.
    pub(super) fn root(self) -> Result<Table<'a>, Fault> {
        Ok(Table { metadata: self, place: self.target(0)? })
    }

    fn fault(&self, place: usize) -> Fault {
        Fault { at: self.at + place.min(self.bytes.len()), text: CUT }
    }

    fn array<const N: usize>(&self, place: usize) -> Result<[u8; N], Fault> {
        let end = place.checked_add(N);
        let found = end.and_then(|end| self.bytes.get(place..end));
        found.and_then(|found| found.try_into().ok()).ok_or_else(|| self.fault(place))
    }

    fn count(&self, place: usize) -> Result<usize, Fault> {
        let count = u32::from_le_bytes(self.array(place)?);
        usize::try_from(count).map_err(|_| self.fault(place))
    }

    /// Where the reference at a place leads.
    fn target(&self, place: usize) -> Result<usize, Fault> {
        place.checked_add(self.count(place)?).ok_or_else(|| self.fault(place))
    }
}

/// A table: fields by their numbers, each of which may be left out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'a> {
    metadata: Metadata<'a>,
    place: usize,
}

impl<'a> Table<'a> {
    /// A fault of the whole table.
    pub(super) fn fault(&self, text: &'static str) -> Fault {
        Fault { text, ..self.metadata.fault(self.place) }
    }

    /// Where a field is, if it is there.
    fn field(&self, number: usize) -> Result<Option<usize>, Fault> {
        let back = i32::from_le_bytes(self.metadata.array(self.place)?);
        let place = i64::try_from(self.place).unwrap_or(i64::MAX);
        let vtable = usize::try_from(place.saturating_sub(back.into()));
        let vtable = vtable.map_err(|_| self.metadata.fault(self.place))?;
        let bytes = u16::from_le_bytes(self.metadata.array(vtable)?);
        let slot = 4 + 2 * number;
        if slot + 2 > usize::from(bytes) {
            return Ok(None);
        }
        let offset = u16::from_le_bytes(self.metadata.array(vtable + slot)?);
        Ok((offset > 0).then_some(self.place + usize::from(offset)))
    }

    fn scalar<const N: usize>(&self, number: usize) -> Result<[u8; N], Fault> {
        let field = self.field(number)?;
        field.map_or(Ok([0; N]), |place| self.metadata.array(place))
    }

    pub(super) fn byte(&self, number: usize) -> Result<u8, Fault> {
        self.scalar(number).map(u8::from_le_bytes)
    }

    pub(super) fn flag(&self, number: usize) -> Result<bool, Fault> {
        self.byte(number).map(|byte| byte != 0)
    }

    pub(super) fn short(&self, number: usize) -> Result<i16, Fault> {
        self.scalar(number).map(i16::from_le_bytes)
    }

    pub(super) fn int(&self, number: usize) -> Result<i32, Fault> {
        self.scalar(number).map(i32::from_le_bytes)
    }

    pub(super) fn long(&self, number: usize) -> Result<i64, Fault> {
        self.scalar(number).map(i64::from_le_bytes)
    }

    pub(super) fn table(&self, number: usize) -> Result<Option<Self>, Fault> {
        let Some(place) = self.field(number)? else { return Ok(None) };
        Ok(Some(Self { place: self.metadata.target(place)?, ..*self }))
    }

    pub(super) fn text(&self, number: usize) -> Result<Option<&'a str>, Fault> {
        let Some(all) = self.vector(number, 1)? else { return Ok(None) };
        let bytes = self.metadata.bytes.get(all.place..all.place + all.len).unwrap_or_default();
        let text = std::str::from_utf8(bytes);
        text.map(Some)
            .map_err(|_| Fault { text: "a name is not UTF-8", ..self.metadata.fault(all.place) })
    }

    /// A row of items, each of so many bytes.
    pub(super) fn vector(
        &self,
        number: usize,
        item_bytes: usize,
    ) -> Result<Option<Vector<'a>>, Fault> {
        let Some(place) = self.field(number)? else { return Ok(None) };
        let start = self.metadata.target(place)?;
        let len = self.metadata.count(start)?;
        let place = start + 4;
        let end = len.checked_mul(item_bytes).and_then(|bytes| place.checked_add(bytes));
        if end.is_none_or(|end| end > self.metadata.bytes.len()) {
            return Err(self.metadata.fault(start));
        }
        Ok(Some(Vector { metadata: self.metadata, place, len, item_bytes }))
    }
}

/// A row of items.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vector<'a> {
    metadata: Metadata<'a>,
    /// Where the first one is.
    place: usize,
    len: usize,
    item_bytes: usize,
}

impl<'a> Vector<'a> {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The table that an item refers to.
    pub(super) fn table(&self, index: usize) -> Result<Table<'a>, Fault> {
        let place = self.metadata.target(self.place + index * self.item_bytes)?;
        Ok(Table { metadata: self.metadata, place })
    }

    /// A number of 64 bits in an item.
    pub(super) fn long(&self, index: usize, part: usize) -> Result<i64, Fault> {
        let place = self.place + index * self.item_bytes + 8 * part;
        self.metadata.array(place).map(i64::from_le_bytes)
    }
}
