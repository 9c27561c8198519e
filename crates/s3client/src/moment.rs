//! Moments: times as signatures, listings and headers write them, in UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SECONDS_A_DAY: u64 = 86_400;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A time, as seconds and nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    seconds: u64,
    nanos: u32,
}

/// Year, month, day, hour, minute, second.
type Fields = (u64, u64, u64, u64, u64, u64);

impl Moment {
    /// Seconds since 1970, UTC.
    pub fn at(seconds: u64) -> Self {
        Self { seconds, nanos: 0 }
    }

    /// The clock's.
    pub fn now() -> Self {
        Self::from_system(SystemTime::now())
    }

    /// A time of the file system; before 1970 counts as 1970.
    pub fn from_system(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { seconds: since.as_secs(), nanos: since.subsec_nanos() }
    }

    /// For the file system; `None` when it cannot say so late a time.
    pub fn to_system(self) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(Duration::new(self.seconds, self.nanos))
    }

    /// Whole seconds since 1970.
    pub fn seconds(self) -> u64 {
        self.seconds
    }

    /// `1718000000.25`: decimal seconds, as rclone keeps a file's time in an object's metadata.
    pub fn decimal(self) -> String {
        if self.nanos == 0 {
            return self.seconds.to_string();
        }
        let text = format!("{}.{:09}", self.seconds, self.nanos);
        text.trim_end_matches('0').to_owned()
    }

    /// Reads [`Moment::decimal`].
    pub fn from_decimal(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = fraction.get(..fraction.len().min(9))?;
        if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let nanos = format!("{digits:0<9}").parse().ok()?;
        Some(Self { seconds: whole.parse().ok()?, nanos })
    }

    fn fields(self) -> Fields {
        let (day, second) = (self.seconds / SECONDS_A_DAY, self.seconds % SECONDS_A_DAY);
        let (year, month, date) = civil(day);
        (year, month, date, second / 3600, second / 60 % 60, second % 60)
    }

    /// `20130524T000000Z`
    pub fn compact(self) -> String {
        let (year, month, date, hour, minute, second) = self.fields();
        format!("{year:04}{month:02}{date:02}T{hour:02}{minute:02}{second:02}Z")
    }

    /// `2013-05-24T00:00:00Z`
    pub fn iso(self) -> String {
        let (year, month, date, hour, minute, second) = self.fields();
        format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}Z")
    }

    /// Reads `2013-05-24T00:00:00.000Z` of listings.
    pub fn from_iso(text: &str) -> Option<Self> {
        let (date, time) = text.split_once('T')?;
        let (clock, fraction) =
            time.strip_suffix('Z')?.split_once('.').unwrap_or((time.strip_suffix('Z')?, ""));
        let date: Vec<u64> = numbers(date, '-')?;
        let clock: Vec<u64> = numbers(clock, ':')?;
        let ([year, month, day], [hour, minute, second]) = (&date[..], &clock[..]) else { return None };
        let seconds = seconds((*year, *month, *day, *hour, *minute, *second))?;
        Self::from_decimal(&format!("{seconds}.{fraction}"))
    }

    /// Reads `Fri, 24 May 2013 00:00:00 GMT` of headers.
    pub fn from_http(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        let [_, day, month, year, clock, "GMT"] = words[..] else { return None };
        let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
        let clock: Vec<u64> = numbers(clock, ':')?;
        let [hour, minute, second] = clock[..] else { return None };
        seconds((year.parse().ok()?, month, day.parse().ok()?, hour, minute, second)).map(Self::at)
    }
}

fn numbers(text: &str, between: char) -> Option<Vec<u64>> {
    text.split(between).map(|number| number.parse().ok()).collect()
}

/// Year, month and day of a day since 1970 (Howard Hinnant's `civil_from_days`).
fn civil(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468;
    let (era, day_of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let date = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, date)
}

/// The other way (Howard Hinnant's `days_from_civil`); `None` outside of 1970 to 9999.
fn seconds((year, month, date, hour, minute, second): Fields) -> Option<u64> {
    let sane = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&date)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !sane {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + date - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let day = era * 146_097 + day_of_era - 719_468;
    Some(day * SECONDS_A_DAY + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_follow_the_calendar_both_ways() {
        for (at, compact, iso, http) in [
            (0, "19700101T000000Z", "1970-01-01T00:00:00.000Z", "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_399, "20000228T235959Z", "2000-02-28T23:59:59Z", "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "20000229T000000Z", "2000-02-29T00:00:00.000Z", "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_735_689_599, "20241231T235959Z", "2024-12-31T23:59:59Z", "Tue, 31 Dec 2024 23:59:59 GMT"),
        ] {
            assert_eq!(Moment::at(at).compact(), compact);
            assert_eq!(Moment::from_iso(iso), Some(Moment::at(at)), "{iso}");
            assert_eq!(Moment::from_http(http), Some(Moment::at(at)), "{http}");
        }
        for bad in
            ["", "2000", "2000-13-01T00:00:00Z", "2000-01-01T00:00Z", "2000-01-01T00:00:00", "x-y-zTa:b:cZ"]
        {
            assert_eq!(Moment::from_iso(bad), None, "{bad:?}");
            assert_eq!(Moment::from_http(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn decimal_seconds_keep_the_nanoseconds() {
        for text in ["0", "1718000000", "1718000000.25", "1718000000.123456789", "1.000000001"] {
            assert_eq!(Moment::from_decimal(text).expect("valid").decimal(), text);
        }
        for bad in ["", "x", "1.x", "-1", "1.2.3"] {
            assert_eq!(Moment::from_decimal(bad), None, "{bad:?}");
        }
    }
}
