// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "engine/base/status.h"

namespace bkfs {

// What a daemon that is unmounted already says to who waits for its end. In its local directory
// there is the note "ending" from then on until it is gone: who mounts again shall wait for it; its
// text is what is still to be done. What could not be done stands in the note "unfinished", which
// is there until the next mount.
class EndingNotes {
 public:
  explicit EndingNotes(const std::string& local_directory)
      : ending_(local_directory + "/ending"), unfinished_(local_directory + "/unfinished") {}

  // For the daemon. A note that cannot be written is not: nobody waits, or knows what for.
  void Begin() const;  // of the mount: forgets what the last one has left
  void Say(const std::string& text) const;
  void End(const Status& stored) const;

  bool IsEnding() const;
  // For who waits; empty: nothing. Control characters are shown as such, and only the first line.
  std::string Text() const { return FirstLine(ending_); }
  std::string Unfinished() const { return FirstLine(unfinished_); }

 private:
  static std::string FirstLine(const std::string& path);
  const std::string ending_;
  const std::string unfinished_;
};

}  // namespace bkfs
