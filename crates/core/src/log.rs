//! The delivery log: its entries, their fold into sequence numbers, and what is spilled when they leave it.
