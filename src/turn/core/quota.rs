//! How many allocations there may be: each user's and all together.

use std::collections::HashMap;

/// Counts allocations by account. Holds an entry only while the account has one.
#[derive(Debug)]
pub struct Quota {
    per_user: u32,
    total: u32,
    users: HashMap<Box<[u8]>, u32>,
    allocations: u32,
}

/// The limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// This user has enough: 486.
    User,
    /// The server is full: 508.
    Total,
}

impl Quota {
    /// 0 means unlimited.
    pub fn new(per_user: u32, total: u32) -> Self {
        let mut quota = Self {
            per_user: 0,
            total: 0,
            users: HashMap::new(),
            allocations: 0,
        };
        quota.limit(per_user, total);
        quota
    }

    /// Other limits, for those who come from now on. 0 means unlimited.
    pub fn limit(&mut self, per_user: u32, total: u32) {
        let unlimited = |limit| if limit == 0 { u32::MAX } else { limit };
        self.per_user = unlimited(per_user);
        self.total = unlimited(total);
    }

    /// Counts one more, if it may be.
    pub fn admit(&mut self, account: &[u8]) -> Result<(), Exceeded> {
        if self.allocations >= self.total {
            return Err(Exceeded::Total);
        }
        match self.users.get_mut(account) {
            Some(count) if *count >= self.per_user => return Err(Exceeded::User),
            Some(count) => *count += 1,
            None => {
                self.users.insert(account.into(), 1);
            }
        }
        self.allocations += 1;
        Ok(())
    }

    /// Counts one less.
    pub fn release(&mut self, account: &[u8]) {
        if let Some(count) = self.users.get_mut(account) {
            *count -= 1;
            if *count == 0 {
                self.users.remove(account);
            }
            self.allocations -= 1;
        }
    }

    /// Allocations in being.
    pub fn allocations(&self) -> u32 {
        self.allocations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_the_server_have_their_limits() {
        let mut quota = Quota::new(2, 3);
        assert_eq!(quota.admit(b"a"), Ok(()));
        assert_eq!(quota.admit(b"a"), Ok(()));
        assert_eq!(quota.admit(b"a"), Err(Exceeded::User));
        assert_eq!(quota.admit(b"b"), Ok(()));
        assert_eq!(quota.admit(b"c"), Err(Exceeded::Total));
        quota.release(b"a");
        assert_eq!(quota.admit(b"c"), Ok(()));
        quota.release(b"nobody");
        assert_eq!(quota.allocations(), 3);
        for account in [b"a", b"b", b"c"] {
            quota.release(account);
        }
        assert_eq!(quota.allocations(), 0);
        assert!(quota.users.is_empty());
    }
}
