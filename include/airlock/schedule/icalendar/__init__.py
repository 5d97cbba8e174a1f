"""Calendar files of other programs (iCalendar, RFC 5545), read strictly."""
