// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "engine/repo/repository.h"
#include "engine/transfer/backup_items.h"
#include "engine/transfer/backup_meter.h"
#include "engine/transfer/file_contents.h"

namespace bkfs {

// Opens a file of the source for reading; its time of access stays as it is where the system allows
// that. Invalid with errno set when it does not work.
UniqueFd OpenSource(int dir, const std::string& name, int flags);
// Whether nothing about a file has changed since `before` was made of it: a change of contents or
// attributes always changes ctime.
bool LooksUnchanged(const Entry& before, const Entry& now);
// kTooLarge when an entry would not fit a tree blob with its attributes.
Status CheckAttributes(const Entry& entry);

// Reads the files that a backup finds. Thread-safe; references must outlive it.
class BackupReader {
 public:
  BackupReader(Repository& repo, ContentsStorer& contents, AccountNames& accounts,
               BackupMeter& meter)
      : repo_(repo), contents_(contents), accounts_(accounts), meter_(meter) {}

  // Completes an item that is no directory: contents, attributes, target. What is wrong with the
  // file itself is told the meter and stands in item.failure; returned are errors of the
  // repository.
  Status Complete(BackupItem& item);
  // Takes contents and attributes from the last snapshot's entry, if all that is still stored.
  Result<bool> TakeStored(BackupItem& item, Entry& before);

 private:
  Status ReadFile(BackupItem& item, bool& changed);
  Status StoreContents(BackupItem& item, int fd, bool& changed);
  void ReadSpecial(BackupItem& item);
  Result<LocalFile> ReadSettled(int fd);

  Repository& repo_;
  ContentsStorer& contents_;
  AccountNames& accounts_;
  BackupMeter& meter_;
};

}  // namespace bkfs
