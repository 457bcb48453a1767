//! The file of a bundle: `LZRTBNDL`, the length of the header (u32, little endian), the header as JSON, and
//! the bytes that it lists, one after another. Nothing is compressed, so that nothing of a stranger's is
//! decompressed here.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Read, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{CODE, Header, IMAGE, INPUT, VERSION};
use crate::errors::Failure;

const MAGIC: &[u8; 8] = b"LZRTBNDL";
/// Bytes of a header at the most.
const HEADER_BYTES_MAX: u32 = 16 * 1024 * 1024;
/// What bytes a bundle may have, and how many of each.
const BLOBS: [(&str, u64); 3] = [
    (CODE, lazaret::CODE_BYTES_MAX),
    (IMAGE, lazaret::program::IMAGE_BYTES_MAX),
    (INPUT, 256 * 1024 * 1024),
];

/// A bundle in memory.
#[derive(Debug, PartialEq)]
pub(crate) struct Bundle {
    pub(crate) header: Header,
    pub(crate) blobs: Vec<Blob>,
}

/// Bytes beside the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) name: String,
    pub(crate) blake3: String,
    pub(crate) length: u64,
    /// None where they were left out.
    pub(crate) bytes: Option<Vec<u8>>,
}

/// The header as it stands in the file.
#[derive(Debug, Serialize, Deserialize)]
struct OnDisk {
    /// Stands first, so that a reader of another version can say so.
    version: u32,
    blobs: Vec<Listed>,
    #[serde(flatten)]
    header: Header,
}

#[derive(Debug, Serialize, Deserialize)]
struct Listed {
    name: String,
    bytes: u64,
    blake3: String,
    held: bool,
}

impl Blob {
    /// Bytes that are in the file.
    pub(crate) fn held(name: &str, bytes: Vec<u8>) -> Self {
        Self { bytes: Some(bytes.clone()), ..Self::named_only(name, &bytes) }
    }

    /// Bytes of which the file has the digest.
    pub(crate) fn named_only(name: &str, bytes: &[u8]) -> Self {
        let blake3 = blake3::hash(bytes).to_hex().to_string();
        Self { name: name.into(), blake3, length: bytes.len() as u64, bytes: None }
    }
}

impl Bundle {
    pub(crate) fn blob(&self, name: &str) -> Option<&Blob> {
        self.blobs.iter().find(|blob| blob.name == name)
    }

    /// The bytes of that name; none if they are not there.
    pub(crate) fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.blob(name)?.bytes.as_deref()
    }
}

/// Writes a bundle, whole or not at all.
pub(crate) fn write(path: &Path, bundle: &Bundle) -> Result<(), Failure> {
    let failed = |source| Failure::Write { path: path.to_owned(), source };
    let beside = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut file =
        tempfile::NamedTempFile::new_in(beside.unwrap_or(Path::new("."))).map_err(failed)?;
    write_to(BufWriter::new(file.as_file_mut()), bundle).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

fn write_to(mut to: impl Write, bundle: &Bundle) -> std::io::Result<()> {
    let listed = |blob: &Blob| Listed {
        name: blob.name.clone(),
        bytes: blob.length,
        blake3: blob.blake3.clone(),
        held: blob.bytes.is_some(),
    };
    let header = serde_json::to_vec(&OnDisk {
        version: VERSION,
        blobs: bundle.blobs.iter().map(listed).collect(),
        header: bundle.header.clone(),
    })?;
    to.write_all(MAGIC)?;
    to.write_all(&(header.len() as u32).to_le_bytes())?;
    to.write_all(&header)?;
    for bytes in bundle.blobs.iter().filter_map(|blob| blob.bytes.as_ref()) {
        to.write_all(bytes)?;
    }
    to.flush()
}

/// Reads a bundle. What is wrong with one is usage: it was named.
pub(crate) fn read(path: &Path) -> Result<Bundle, Failure> {
    let unreadable = |source| Failure::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    read_from(BufReader::new(file)).map_err(|error| match error {
        Wrong::Io(source) => unreadable(source),
        Wrong::Form(reason) => Failure::Bundle { path: path.to_owned(), reason },
    })
}

enum Wrong {
    Io(std::io::Error),
    Form(String),
}

impl From<std::io::Error> for Wrong {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Self::Form("it is cut off".into()),
            _ => Self::Io(error),
        }
    }
}

fn read_from(mut from: impl Read) -> Result<Bundle, Wrong> {
    let wrong = |reason: &str| Err(Wrong::Form(reason.into()));
    let (mut magic, mut length) = ([0; 8], [0; 4]);
    from.read_exact(&mut magic)?;
    if &magic != MAGIC {
        return wrong("it is no bundle");
    }
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > HEADER_BYTES_MAX {
        return wrong("its header is too long");
    }
    let header = take(&mut from, length.into())?;
    let on_disk: OnDisk = decode(&header)?;
    let mut blobs: Vec<Blob> = Vec::new();
    for Listed { name, bytes, blake3, held } in on_disk.blobs {
        let bytes_max = BLOBS.iter().find(|(known, _)| *known == name).map(|(_, most)| *most);
        if blobs.iter().any(|blob| blob.name == name) || bytes_max.is_none_or(|most| bytes > most) {
            return wrong("it lists bytes that no bundle has, or too many of them");
        }
        let content = if held { Some(take(&mut from, bytes)?) } else { None };
        if content.as_ref().is_some_and(|c| blake3::hash(c).to_hex().as_str() != blake3) {
            return wrong("its bytes are not those that it was written with");
        }
        blobs.push(Blob { name, blake3, length: bytes, bytes: content });
    }
    if from.read(&mut [0])? != 0 {
        return wrong("something follows it");
    }
    Ok(Bundle { header: on_disk.header, blobs })
}

fn decode(header: &[u8]) -> Result<OnDisk, Wrong> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let wrong = |error: serde_json::Error| Wrong::Form(format!("its header is wrong: {error}"));
    let Versioned { version } = serde_json::from_slice(header).map_err(wrong)?;
    if version != VERSION {
        let reason = format!("it has version {version}, and this program reads version {VERSION}");
        return Err(Wrong::Form(reason));
    }
    serde_json::from_slice(header).map_err(wrong)
}

/// So many bytes, for which memory is taken as they come and not as they are announced.
fn take(from: &mut impl Read, bytes: u64) -> Result<Vec<u8>, Wrong> {
    let mut taken = Vec::new();
    from.take(bytes).read_to_end(&mut taken)?;
    match taken.len() as u64 == bytes {
        true => Ok(taken),
        false => Err(Wrong::Form("it is cut off".into())),
    }
}

#[cfg(test)]
mod tests {
    use lazaret::{Params, Profile};

    use super::*;
    use crate::bundle::{
        Ended, Machine,
        case::{Case, CaseLimits, Text, Wasi, What},
    };

    fn bundle() -> Bundle {
        let wasi = Wasi { arguments: vec![Text::from(&b"\xff"[..])], ..Wasi::default() };
        let limits = CaseLimits {
            cpu_micros: u64::MAX,
            wall_micros: None,
            fuel: Some(1),
            output_bytes_max: 2,
            input_bytes_max: 3,
        };
        let asked = What::Wasi(Box::new(wasi));
        let header = Header {
            written_at: 7,
            machine: Machine::default(),
            case: Case { params: Params::of(Profile::Wasi), limits, asked },
            ended: Ended { verdict: "refused".into(), ..Ended::default() },
            input_is_whole: true,
        };
        let blobs = vec![Blob::named_only(CODE, b"code"), Blob::held(INPUT, b"input".to_vec())];
        Bundle { header, blobs }
    }

    fn written() -> Vec<u8> {
        let mut bytes = Vec::new();
        write_to(&mut bytes, &bundle()).unwrap();
        bytes
    }

    #[test]
    fn a_bundle_comes_back_as_it_went() {
        let read = read_from(&written()[..]).ok().expect("a bundle");
        assert_eq!(read, bundle());
        assert_eq!(read.bytes(INPUT), Some(&b"input"[..]));
        assert_eq!(read.bytes(CODE), None);
    }

    #[test]
    fn a_bundle_that_is_cut_off_changed_or_too_long_is_none() {
        let bytes = written();
        for length in 0..bytes.len() {
            assert!(read_from(&bytes[..length]).is_err(), "{length}");
        }
        let longer = [&bytes[..], b"x"].concat();
        assert!(read_from(&longer[..]).is_err());
        let mut changed = bytes.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(read_from(&changed[..]).is_err());
    }

    #[test]
    fn a_lying_length_takes_no_memory() {
        let mut lying = MAGIC.to_vec();
        lying.extend(u32::MAX.to_le_bytes());
        assert!(read_from(&lying[..]).is_err());
        let text =
            String::from_utf8_lossy(&written()[12..]).replace("\"bytes\":5", "\"bytes\":9999999");
        let header = &text.as_bytes()[..text.len() - 5];
        let mut lying = MAGIC.to_vec();
        lying.extend((header.len() as u32).to_le_bytes());
        lying.extend(header);
        assert!(matches!(read_from(&lying[..]), Err(Wrong::Form(why)) if why.contains("cut off")));
    }

    #[test]
    fn another_version_says_so_whatever_else_its_header_holds() {
        let header = br#"{"version":9,"new":true}"#;
        let mut bytes = MAGIC.to_vec();
        bytes.extend((header.len() as u32).to_le_bytes());
        bytes.extend(header);
        assert!(
            matches!(read_from(&bytes[..]), Err(Wrong::Form(why)) if why.contains("version 9"))
        );
    }
}
