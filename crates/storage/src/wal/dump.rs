//! Shows a segment as it stands, damage included, for `silt inspect`.

use std::path::Path;

use crate::Result;
use crate::vfs::Env;
use crate::wal::WalPosition;
use crate::wal::reader::SegmentFile;
use crate::wal::record::{Damage, RecordHeader, SEGMENT_HEADER_BYTES, SegmentHeader};

/// What stands at an offset of a segment, for inspection.
#[derive(Clone, Debug)]
pub(crate) struct DumpEntry {
    pub(crate) offset: u64,
    pub(crate) what: DumpItem,
}

/// See [`DumpEntry`].
#[derive(Clone, Debug)]
pub(crate) enum DumpItem {
    Segment(SegmentHeader),
    Record {
        header: RecordHeader,
        payload: Vec<u8>,
    },
    /// Bytes that are no record, up to the next one or the end.
    Damage {
        why: String,
        bytes: u64,
    },
}

/// Everything in one segment file, damage included; reads nothing else of the database. Without
/// a good header nothing more can be told. Zeroes up to the end are room for records to come.
pub(crate) fn dump(env: &Env, path: &Path) -> Result<Dump> {
    let file = SegmentFile::open_path(&*env.vfs, path.to_path_buf())?;
    Ok(Dump { file, place: DumpPlace::Header })
}

/// See [`dump`].
pub(crate) struct Dump {
    file: SegmentFile,
    place: DumpPlace,
}

enum DumpPlace {
    Header,
    Record { uuid: u128, at: WalPosition },
    End,
}

impl Dump {
    fn entry(&mut self) -> Result<Option<DumpEntry>> {
        match self.place {
            DumpPlace::Header => self.header().map(Some),
            DumpPlace::Record { uuid, at } if at.offset < self.file.len => self.record(uuid, at),
            DumpPlace::Record { .. } | DumpPlace::End => Ok(None),
        }
    }

    fn header(&mut self) -> Result<DumpEntry> {
        // The header says which database it is; without it no record can be checked.
        self.place = DumpPlace::End;
        let decoded = if self.file.len < SEGMENT_HEADER_BYTES as u64 {
            Err(Damage::Cut { needed: SEGMENT_HEADER_BYTES as u64, left: self.file.len })
        } else {
            let bytes = self.file.bytes(0, SEGMENT_HEADER_BYTES)?;
            SegmentHeader::decode(bytes.try_into().expect("that many were asked for"))
        };
        let what = match decoded {
            Ok(header) => {
                let at = WalPosition::new(header.segment, SEGMENT_HEADER_BYTES as u64);
                self.place = DumpPlace::Record { uuid: header.uuid, at };
                DumpItem::Segment(header)
            }
            Err(damage) => DumpItem::Damage { why: damage.to_string(), bytes: self.file.len },
        };
        Ok(DumpEntry { offset: 0, what })
    }

    fn record(&mut self, uuid: u128, at: WalPosition) -> Result<Option<DumpEntry>> {
        let len = self.file.len;
        let (what, bytes) = match self.file.check_record(uuid, at, len)? {
            Ok(header) => {
                let payload = self.file.payload(at, &header)?.to_vec();
                (DumpItem::Record { header, payload }, header.record_len())
            }
            Err(_) if self.file.is_zeroes_from(at.offset)? => {
                self.place = DumpPlace::End;
                return Ok(None);
            }
            Err(damage) => {
                let mut next = at.offset + 8;
                while next < len {
                    let there = WalPosition::new(at.segment, next);
                    if self.file.check_record(uuid, there, len)?.is_ok() {
                        break;
                    }
                    next += 8;
                }
                let bytes = next.min(len) - at.offset;
                (DumpItem::Damage { why: damage.to_string(), bytes }, bytes)
            }
        };
        let at_next = WalPosition::new(at.segment, at.offset + bytes);
        self.place = DumpPlace::Record { uuid, at: at_next };
        Ok(Some(DumpEntry { offset: at.offset, what }))
    }
}

impl Iterator for Dump {
    type Item = Result<DumpEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.entry();
        if entry.is_err() {
            self.place = DumpPlace::End;
        }
        entry.transpose()
    }
}
